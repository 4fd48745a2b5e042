"""The network that a person names, in the shape its weights were trained in."""

from pathlib import Path
from typing import Any


def as_described(model: str, weights: Path) -> Any:
    """The network for these weights: in the shape that the file says they were trained in, if it does."""
    from prunus import models
    from prunus.loading import described

    description = described(weights) or ""
    return models.from_description(description) if description.startswith(f"{model}(") else models.build(model)
