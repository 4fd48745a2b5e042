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
    "linear_error",
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


def linear_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over rows of the sum of |target - output|, for `targets` of the outputs' shape or labels of classes.

    For labels (rows,), outputs are logits, and it is their softmax that should be 1 at the label and 0 elsewhere.
    Source: Mozer & Smolensky 1989, "Skeletonization".

    >>> linear_error(torch.tensor([[0.5, -1.0]]), torch.tensor([[1.0, 1.0]])).item()
    2.5
    >>> linear_error(torch.zeros(1, 4), torch.tensor([2])).item()
    1.5
    """
    if not targets.is_floating_point():
        targets = nn.functional.one_hot(targets, outputs.shape[1])
        outputs = outputs.softmax(1)
    return (targets - outputs).abs().flatten(1).sum(1).mean()


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
