"""What data is to a measurement: batches, a loss, and the mean over all rows."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from prunus.errors import PrunusError
from prunus.modes import mode
from prunus.tree import Tree, weights

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def averaged(
    measure: Callable[[Tensor, Tensor], Tree], model: nn.Module, batches: Iterable[Batch], noun: str
) -> dict[str, Tensor]:
    """The mean over all rows of `batches` of what `measure(inputs, labels)` gives as the mean over those of a batch.

    `measure` is called with `model` in evaluation mode and gives tensors of its prunable weights' names and shapes.
    Raises `PrunusError`, about a `noun`, without batches, or where a mean is not finite.
    """
    sums = {name: torch.zeros_like(weight, requires_grad=False) for name, weight in weights(model).items()}
    count = 0
    with mode(model, training=False):
        for inputs, labels in batches:
            found = measure(inputs, labels)
            for name, total in sums.items():
                total.add_(found[name].detach(), alpha=len(labels))
            count += len(labels)
    if not count:
        raise PrunusError(f"{noun}s need at least one batch.")
    for name, total in sums.items():
        if not torch.isfinite(total).all():
            raise PrunusError(f"{name}: the {noun} holds NaN or infinity.")
    return {name: total / count for name, total in sums.items()}
