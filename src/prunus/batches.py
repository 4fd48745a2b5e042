"""What data is to a measurement: batches, a loss, and the mean over all rows."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from prunus.errors import PrunusError
from prunus.modes import by_batch, mode
from prunus.tree import Tree, weights

Batch = tuple[Tensor, Tensor]
Inputs = Tensor | Mapping[str, Any]  # a mapping holds keyword arguments, as tokenizers give them
FedBatch = tuple[Inputs, Any]
Loss = Callable[[Any, Tensor], Tensor]
_I = TypeVar("_I", bound=Inputs)


def feed(model: nn.Module, inputs: Inputs) -> Any:
    """What `model` gives for `inputs`: one argument, or in a mapping many by name."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def averaged(
    measure: Callable[[_I, Tensor], Tree],
    model: nn.Module,
    batches: Iterable[tuple[_I, Tensor]],
    noun: str,
    *,
    fresh: bool = False,
) -> dict[str, Tensor]:
    """The mean over all rows of `batches` of what `measure(inputs, labels)` gives as the mean over those of a batch.

    `measure` is called with `model` in evaluation mode and gives tensors of its prunable weights' names and shapes; a
    `fresh` model's BatchNorm works `by_batch`.
    Raises `PrunusError`, about a `noun`, without batches, or where a mean is not finite.
    """
    sums = {name: torch.zeros_like(weight, requires_grad=False) for name, weight in weights(model).items()}
    count = 0
    with by_batch(model) if fresh else mode(model, training=False):
        for inputs, labels in batches:
            found = measure(inputs, labels)
            for name, total in sums.items():
                total.add_(found[name].detach(), alpha=len(labels))
            count += len(labels)
    if not count:
        raise PrunusError(f"{noun}s need at least one batch.")
    check_finite(sums, noun)
    return {name: total / count for name, total in sums.items()}


def check_finite(found: Tree, noun: str) -> None:
    """Raise `PrunusError`, about a `noun`, where `found` holds NaN or infinity."""
    for name, value in found.items():
        if not torch.isfinite(value).all():
            raise PrunusError(f"{name}: the {noun} holds NaN or infinity.")
