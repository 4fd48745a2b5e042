"""What a score may ask for beyond the weights, measured over batches of data."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from prunus.errors import PrunusError
from prunus.modes import mode
from prunus.tree import weights

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def gradients(
    model: nn.Module, batches: Iterable[Batch], loss: Loss = nn.functional.cross_entropy
) -> dict[str, Tensor]:
    """The mean over all rows of `batches` of the loss gradient of each prunable weight, in evaluation mode.

    `batches` yields (inputs, labels), and `loss` is a mean over the rows of a batch. The model's own `.grad` fields and
    all modes are left as they were. Raises `PrunusError` without batches, or where a gradient is not finite.
    """
    own = weights(model)
    sums = {name: torch.zeros_like(weight) for name, weight in own.items()}
    count = 0
    with mode(model, training=False):
        for inputs, labels in batches:
            found = torch.autograd.grad(loss(model(inputs), labels), list(own.values()), materialize_grads=True)
            for total, part in zip(sums.values(), found, strict=True):
                total.add_(part, alpha=len(labels))
            count += len(labels)
    if not count:
        raise PrunusError("gradients need at least one batch.")
    for name, total in sums.items():
        if not torch.isfinite(total).all():
            raise PrunusError(f"{name}: the gradient holds NaN or infinity.")
    return {name: total / count for name, total in sums.items()}


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
