"""The network that a person names, in the shape its weights were trained in, and what it reads."""

from pathlib import Path
from typing import Any


def as_described(model: str, weights: Path) -> Any:
    """The network for these weights: in the shape that the file says they were trained in, if it does."""
    from prunus import models
    from prunus.loading import described

    description = described(weights) or ""
    return models.from_description(description) if description.startswith(f"{model}(") else models.build(model)


def example_for(network: Any, loaded: Any, what: str) -> Any:
    """One input for `what` needs it, of the data or of the shape that a built-in network is for."""
    import torch

    from prunus import models
    from prunus.errors import PrunusError
    from prunus.models.description import Description

    if loaded is not None:
        return next(loaded.train.batches(1, most=1))[0]
    description = models.describe(network)
    if description is None:
        raise PrunusError(f"{what} needs the shape of an input, which is known of built-in networks only: give --data.")
    return torch.zeros(1, *Description.parse(description).input_shape)
