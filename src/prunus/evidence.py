"""What a score may ask for beyond the weights, measured over batches of data."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prunus.batches import Batch, FedBatch, Inputs, Loss, averaged, check_finite, feed
from prunus.curvature import hessian_diagonals, hessian_vector_product, hutchinson_diagonals, squared_gradients
from prunus.errors import PrunusError
from prunus.inputs import input_grams, input_norms
from prunus.modes import mode
from prunus.tree import unwrapped, weights

__all__ = [
    "flows",
    "gradients",
    "hessian_diagonals",
    "hessian_gradients",
    "hutchinson_diagonals",
    "input_grams",
    "input_norms",
    "linear_error",
    "of_each_class",
    "squared_gradients",
]


def gradients(
    model: nn.Module, batches: Iterable[FedBatch], loss: Loss = nn.functional.cross_entropy
) -> dict[str, Tensor]:
    """The mean over all rows of `batches` of the loss gradient of each prunable weight, in evaluation mode.

    Before training, when BatchNorm has no statistics, it normalises by the batch.
    `batches` yields (inputs, labels), where inputs that are a mapping are keyword arguments, and `loss`, of outputs and
    labels, is a mean over the rows of a batch. The model's own `.grad` fields and all modes are left as they were.
    Raises `PrunusError` without batches, or where a gradient is not finite.
    """
    own = weights(model)

    def measure(inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        with torch.enable_grad():
            value = loss(feed(model, inputs), labels)
            found = torch.autograd.grad(value, list(own.values()), materialize_grads=True)
        return dict(zip(own, found, strict=True))

    return averaged(measure, model, batches, "gradient", fresh=True)


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


def hessian_gradients(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Loss = nn.functional.cross_entropy,
    *,
    temperature: float = 200.0,
) -> dict[str, Tensor]:
    """H g: the Hessian of the mean loss over all rows of `batches` times its gradient, for each prunable weight.

    Outputs are divided by `temperature` first: the authors of GraSP (Wang et al. 2020) soften their logits so. All else
    is as in `gradients` and `prunus.curvature.hessian_vector_product`.
    """
    batches = list(batches)

    def softened(outputs: Tensor, labels: Tensor) -> Tensor:
        return loss(outputs / temperature, labels)

    return hessian_vector_product(model, gradients(model, batches, softened), batches, softened)


def flows(model: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """dR/d|w| of each prunable weight, in double precision: R sums the outputs of the positive network for ones.

    Every parameter and buffer is replaced by its absolute value, layers work as in evaluation, and the input is ones in
    the shape of `example`, (1, ...): no data is seen. R is a sum over paths in networks of ReLU, pooling and BatchNorm
    whose running means are zero, as they are before training. The model is left as it was.
    Source: Tanaka et al. 2020, "Pruning neural networks without any data", algorithm 1.

    Raises `PrunusError` for an example of whole numbers, and where a flow is not finite.

    >>> layer = nn.Linear(2, 1)
    >>> flows(layer, torch.zeros(1, 2))["weight"].tolist()
    [[1.0, 1.0]]
    """
    if not example.is_floating_point():
        raise PrunusError(f"an input of ones needs floating-point numbers, found an example of {example.dtype}.")
    network = unwrapped(model)
    positive = {
        name: value.detach().double().abs() if value.is_floating_point() else value
        for name, value in (*network.named_parameters(), *network.named_buffers())
    }
    own = {name: positive[name].requires_grad_() for name in weights(network)}
    with mode(network, training=False), torch.enable_grad():
        outputs = functional_call(network, positive, (torch.ones_like(example, dtype=torch.float64),))
        slopes = torch.autograd.grad(outputs.sum(), list(own.values()), materialize_grads=True)
    found = dict(zip(own, slopes, strict=True))
    check_finite(found, "flow")
    return found


def of_each_class(batches: Iterable[Batch], count: int, classes: int) -> Batch:
    """The first `count` rows of each of `classes` classes in `batches`, as one batch, classes in order.

    No more of `batches` is read than it takes. Source: how the authors of GraSP choose their images. Raises
    `PrunusError` where a class has fewer rows.

    >>> inputs, labels = torch.arange(5.0), torch.tensor([1, 0, 1, 1, 0])
    >>> of_each_class([(inputs, labels)], count=2, classes=2)
    (tensor([1., 4., 0., 2.]), tensor([0, 0, 1, 1]))
    """
    found: list[list[Tensor]] = [[] for _ in range(classes)]
    for inputs, labels in batches:
        for row, label in zip(inputs, labels.tolist(), strict=True):
            if len(found[label]) < count:
                found[label].append(row)
        if all(len(rows) == count for rows in found):
            break
    for label, rows in enumerate(found):
        if len(rows) < count:
            raise PrunusError(f"class {label} has {len(rows)} rows, fewer than {count}.")
    chosen = torch.stack([row for rows in found for row in rows])
    return chosen, torch.arange(classes, device=chosen.device).repeat_interleave(count)
