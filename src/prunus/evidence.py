"""What a score may ask for beyond the weights, measured over batches of data."""

from collections.abc import Callable, Collection, Iterable

import torch
from torch import Tensor, nn

from prunus.batches import Batch, Loss, averaged
from prunus.curvature import hessian_diagonals, hutchinson_diagonals, squared_gradients
from prunus.inputs import input_grams, input_norms
from prunus.tree import weights

__all__ = [
    "gradients",
    "hessian_diagonals",
    "hutchinson_diagonals",
    "input_grams",
    "input_norms",
    "measured",
    "squared_gradients",
]


def gradients(
    model: nn.Module, batches: Iterable[Batch], loss: Loss = nn.functional.cross_entropy
) -> dict[str, Tensor]:
    """The mean over all rows of `batches` of the loss gradient of each prunable weight, in evaluation mode.

    `batches` yields (inputs, labels), and `loss` is a mean over the rows of a batch. The model's own `.grad` fields and
    all modes are left as they were. Raises `PrunusError` without batches, or where a gradient is not finite.
    """
    own = weights(model)

    def measure(inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        found = torch.autograd.grad(loss(model(inputs), labels), list(own.values()), materialize_grads=True)
        return dict(zip(own, found, strict=True))

    return averaged(measure, model, batches, "gradient")


MEASURES: dict[str, Callable[[nn.Module, Iterable[Batch]], dict[str, Tensor]]] = {
    "gradients": gradients,
    "squared_gradients": squared_gradients,
    "hessian_diagonals": hessian_diagonals,
    "input_norms": input_norms,
}
"""What can be measured from a model and batches, by the name under which a score asks for it."""


def measured(
    needs: Collection[str], model: nn.Module, batches: Callable[[], Iterable[Batch]]
) -> dict[str, dict[str, Tensor]]:
    """What of `needs` is in `MEASURES`, each measured on `batches()`."""
    return {name: measure(model, batches()) for name, measure in MEASURES.items() if name in needs}
