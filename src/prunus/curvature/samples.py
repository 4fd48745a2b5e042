"""Derivatives of each sample for itself: the Fisher diagonal, and the inverse of a whole Hessian."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vjp, vmap

from prunus.batches import Batch, Loss, averaged
from prunus.errors import PrunusError
from prunus.modes import mode
from prunus.tree import plain_weights, unwrapped

AT_ONCE = 1 << 25  # derivatives of single samples held together
LARGEST = 1 << 29  # entries of a matrix over all weights: 4 GiB


@torch.no_grad()
def squared_gradients(
    model: nn.Module, batches: Iterable[Batch], loss: Loss = nn.functional.cross_entropy
) -> dict[str, Tensor]:
    """The mean over all rows of the squared gradient of that row's loss: the diagonal of the empirical Fisher.

    In evaluation mode. The network must run under `torch.func.vmap`.
    Cost: a backward pass, in which weights' gradients of `AT_ONCE` entries are held together.

    Raises as `prunus.evidence.gradients` does.
    """
    own = plain_weights(model)
    network = unwrapped(model)

    def of_one(values: dict[str, Tensor], row: Tensor, label: Tensor) -> Tensor:
        return loss(functional_call(network, values, (row[None],)), label[None])

    found = vmap(grad(of_one), in_dims=(None, 0, 0))

    def measure(inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        sums = {name: torch.zeros_like(weight) for name, weight in own.items()}
        for rows, some in _few(own, inputs, labels):
            for name, gradient in found(own, rows, some).items():
                sums[name] += gradient.square().sum(0)
        return {name: total / len(labels) for name, total in sums.items()}

    return averaged(measure, model, batches, "squared gradient")


@torch.no_grad()
def inverse_hessian(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    damping: float = 1e-6,
    loss: Loss = nn.functional.cross_entropy,
) -> Tensor:
    """The inverse of `damping` I + the Gauss-Newton matrix of the mean loss, (n, n) in double precision.

    The n prunable weights come in their order, flattened. The matrix is the mean over rows of X X^T with X = (d outputs
    / d w) S^(1/2), where S is the Hessian of a row's loss in its outputs; the inverse starts as I / `damping` and takes
    in one batch of columns X after the other by Woodbury's identity. For squared errors this is the Hessian of Hassibi
    & Stork 1993, who take in sample by sample. `loss` is convex in the outputs, which are (batch, outputs).

    Cost: n^2 a column; memory n^2.

    Raises `PrunusError` for damping that is not positive, without batches, and above `LARGEST` entries.
    """
    if not damping > 0:
        raise PrunusError(f"damping {damping} is not positive.")
    own = plain_weights(model)
    size = sum(weight.numel() for weight in own.values())
    if size * size > LARGEST:
        raise PrunusError(
            f"the inverse Hessian of all {size:,} weights would take {size * size * 8 / 2**30:,.0f} GiB: "
            "prune by woodfisher, or layer by layer (l_obs, sparsegpt)."
        )
    batches = list(batches)
    count = sum(len(labels) for _, labels in batches)
    if not count:
        raise PrunusError("the inverse Hessian needs at least one batch.")
    first = next(iter(own.values()))
    inverse = torch.eye(size, dtype=torch.float64, device=first.device) / damping
    factors = _factors(unwrapped(model), loss)
    with mode(model, training=False):
        for inputs, labels in batches:
            for rows, some in _few(own, inputs, labels):
                _take_in(inverse, factors(own, rows, some).flatten(0, 1).double(), count)
    return inverse


@torch.no_grad()
def curvature_factors(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    loss: Loss = nn.functional.cross_entropy,
    generator: torch.Generator | None = None,
) -> Tensor:
    """F, (columns, n), with F^T F the Gauss-Newton matrix of the mean loss: what `inverse_hessian` inverts, undamped.

    Each row gives as many columns as there are outputs; with a `generator` one, their sum with random signs, which has
    the right matrix in the mean, so that as many columns tell of more rows.

    Cost: a backward pass, and memory n, for each column.

    Raises `PrunusError` without batches, and above `LARGEST` entries.
    """
    network, own = unwrapped(model), plain_weights(model)
    size = sum(weight.numel() for weight in own.values())
    factors, found, entries = _factors(network, loss), list[Tensor](), 0
    with mode(model, training=False):
        for batch in batches:
            for rows, some in _few(own, *batch):
                signs = None
                if generator is not None:
                    outputs = network(rows[:1]).shape[1]
                    signs = torch.randint(0, 2, (len(rows), outputs, 1), generator=generator).mul(2).sub(1)
                each = factors(own, rows, some, signs)
                if (entries := entries + each.numel()) > LARGEST:
                    raise PrunusError(
                        f"{type(model).__name__}: of {size:,} weights at most {LARGEST // size:,} columns are taken, "
                        "which those of the batches exceed."
                    )
                found.append(each)
    if not found:
        raise PrunusError("factors of the curvature need at least one batch.")
    return torch.cat([each.flatten(0, 1) for each in found]).div_(math.sqrt(sum(map(len, found))))


def _factors(network: nn.Module, loss: Loss) -> Callable[..., Tensor]:
    """A function that gives X^T of every row, (rows, outputs, n), or of X times its `mix`, (rows, outputs, columns)."""

    def of_one(values: dict[str, Tensor], row: Tensor, label: Tensor, mix: Tensor | None) -> Tensor:
        found, pull = vjp(lambda own: functional_call(network, own, (row[None],))[0], values)[:2]
        second = jacrev(jacrev(lambda outputs: loss(outputs[None], label[None])))(found)
        size, directions = torch.linalg.eigh(second)
        roots = directions * size.clamp(min=0).sqrt()  # (outputs, outputs)
        (columns,) = vmap(pull)((roots if mix is None else roots @ mix.to(roots)).mT)
        return torch.cat([part.flatten(1) for part in columns.values()], 1)

    def of_all(values: dict[str, Tensor], rows: Tensor, labels: Tensor, mix: Tensor | None = None) -> Tensor:
        found: Tensor = vmap(of_one, in_dims=(None, 0, 0, None if mix is None else 0))(values, rows, labels, mix)
        return found

    return of_all


def _take_in(inverse: Tensor, columns: Tensor, count: int) -> None:
    """`inverse` of H becomes that of H + X X^T / `count`, where `columns` is X^T, (columns, n)."""
    product = columns @ inverse
    small = product @ columns.mT + count * torch.eye(len(columns), dtype=inverse.dtype, device=inverse.device)
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(small), product, upper=False)
    inverse.addmm_(half.mT, half, alpha=-1)


def _few(own: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Iterable[Batch]:
    """The batch in parts, so small that `AT_ONCE` holds all derivatives of a part's rows."""
    rows = max(1, AT_ONCE // sum(weight.numel() for weight in own.values()))
    return zip(inputs.split(rows), labels.split(rows), strict=True)
