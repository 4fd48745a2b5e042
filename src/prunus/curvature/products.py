"""The Hessian times a vector, exactly, and its diagonal from products with random signs."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from prunus.batches import Batch, Loss, averaged
from prunus.errors import PrunusError
from prunus.tree import Tree, weights, zipped


def hessian_vector_product(
    model: nn.Module, vector: Tree, batches: Iterable[Batch], loss: Loss = nn.functional.cross_entropy
) -> dict[str, Tensor]:
    """H v: the Hessian of the mean loss over all rows, in the prunable weights, times `vector`, in evaluation mode.

    `vector` has the weights' names and shapes. Two backward passes a batch, by differentiating g . v: exact. BatchNorm
    without statistics normalises by the batch, as in `prunus.evidence.gradients`.
    Source: Pearlmutter 1994, "Fast exact multiplication by the Hessian".

    Raises as `prunus.evidence.gradients` does.
    """
    own = weights(model)
    directions = [direction for _, (_, direction) in zipped(own, vector)]

    def measure(inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return _product(_gradients(model, own, inputs, labels, loss), own, directions)

    return averaged(measure, model, batches, "Hessian-vector product", fresh=True)


def hutchinson_diagonals(
    model: nn.Module,
    batches: Iterable[Batch],
    generator: torch.Generator,
    *,
    samples: int = 16,
    loss: Loss = nn.functional.cross_entropy,
) -> dict[str, Tensor]:
    """The diagonal of that Hessian, estimated without bias: the mean of v * (H v) over random signs v.

    `samples` vectors are drawn anew for each batch. An entry's variance is the sum of its row's squared off-diagonals,
    divided by the number drawn. Any network that can be differentiated twice.
    Cost: `samples` + 1 backward passes a batch.
    Source: Hutchinson 1990; Bekas, Kokiopoulou & Saad 2007.

    Raises as `hessian_vector_product` does.
    """
    if samples < 1:
        raise PrunusError(f"samples {samples}: the estimate needs at least 1.")
    own = weights(model)

    def measure(inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        gradients = _gradients(model, own, inputs, labels, loss)
        sums = {name: torch.zeros_like(weight) for name, weight in own.items()}
        for _ in range(samples):
            signs = [_signs(weight, generator) for weight in own.values()]
            product = _product(gradients, own, signs)
            for (name, total), sign in zip(sums.items(), signs, strict=True):
                total.addcmul_(sign, product[name], value=1 / samples)
        return sums

    return averaged(measure, model, batches, "Hessian diagonal", fresh=True)


def _gradients(
    model: nn.Module, own: Mapping[str, Tensor], inputs: Tensor, labels: Tensor, loss: Loss
) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        value = loss(model(inputs), labels)
        return torch.autograd.grad(value, list(own.values()), create_graph=True, materialize_grads=True)


def _product(gradients: Sequence[Tensor], own: Mapping[str, Tensor], vector: Sequence[Tensor]) -> dict[str, Tensor]:
    """Gradients that don't depend on the weights have no second derivative."""
    bent = [(g, v) for g, v in zip(gradients, vector, strict=True) if g.requires_grad]
    if not bent:
        return {name: torch.zeros_like(weight) for name, weight in own.items()}
    found = torch.autograd.grad(
        [g for g, _ in bent], list(own.values()), [v for _, v in bent], retain_graph=True, materialize_grads=True
    )
    return dict(zip(own, found, strict=True))


def _signs(weight: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(0, 2, weight.shape, generator=generator, device=generator.device)
    return drawn.to(weight).mul_(2).sub_(1)
