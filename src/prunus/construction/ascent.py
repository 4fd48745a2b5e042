"""The worst input that can be found: a bound from below, to hold beside the certified one from above."""

import torch
from torch import Tensor

from prunus.construction.result import Construction


def worst_input(
    construction: Construction, shape: tuple[int, ...], *, starts: int = 16, steps: int = 100, seed: int = 0
) -> Tensor:  # (*shape) float64
    """The input of this `shape`, of Euclidean norm at most 1, with the largest error that was found.

    Projected gradient ascent from `starts` random points of the sphere: steps along the gradient, ever shorter ones,
    and back onto the ball where they leave it.
    """
    generator = torch.Generator().manual_seed(seed)
    x = _projected(1e6 * torch.randn(starts, *shape, generator=generator, dtype=torch.float64))
    best, largest = x, construction.error(x)
    for step in range(steps):
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(construction.error(x).sum(), x)
        direction = gradient / _norms(gradient).clamp(min=1e-300)
        x = _projected(x.detach() + (1 - step / steps) * direction)
        errors = construction.error(x)
        better = errors > largest
        largest = errors.where(better, largest)
        best = x.where(better.reshape(_norms(x).shape), best)
    return best[largest.argmax()].detach()


def _projected(x: Tensor) -> Tensor:
    """The nearest points of the ball, kept inside against rounding."""
    return x / (_norms(x) * (1 + 1e-12)).clamp(min=1)


def _norms(x: Tensor) -> Tensor:
    """Euclidean, of each input, in a shape that divides `x`."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True)
    return norms
