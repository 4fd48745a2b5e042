"""Optimal Brain Surgeon over networks too large for an inverse Hessian: by one of low rank, never written out."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from prunus import scope as scopes
from prunus.errors import PrunusError
from prunus.layerwise.problems import split
from prunus.mask import Mask, check_density
from prunus.scope import Scope
from prunus.tree import Tree, plain_weights

AT_ONCE = 1 << 24  # entries of factors held in double precision


@torch.no_grad()
def woodfisher(
    model: nn.Module | Tree,
    factors: Tensor,
    density: float,
    *,
    damping: float = 1e-5,
    share: float = 0.2,
    scope: Scope = scopes.network,
) -> tuple[dict[str, Tensor], Mask]:
    """`obs` with the curvature of m columns: H = `damping` I + F^T F, whose inverse is an m x m matrix's by Woodbury.

    `factors` F are `prunus.curvature.curvature_factors`, (m, n) over `model`'s prunable weights in their order. Of the
    weights left, the part `share` goes at a time, one at least, those with the least L_q; with 0 it is `obs` exactly.
    What `scope` chooses by is when a weight goes. Those kept move as if the others had gone together, which is exact in
    any case.

    Idea: a curvature measured on m samples has rank m, so all that OBS asks for can be had from m numbers a weight.
    Formula: with f_q the columns of F and M = `damping` I + F F^T over the weights left, [H^-1]_qq =
    (1 - f_q^T M^-1 f_q) / `damping`, and w moves by F^T M^-1 G w_G, where G are the columns of the weights w_G gone.
    Source: Singh & Alistarh 2020, "WoodFisher: efficient second-order approximation for neural network compression".
    Use: where `obs` is wanted and n is too large for n^2 numbers.
    Cost: n m^2 / `share` for all masks together, memory n m.
    Differs: its authors take gradients of samples (the empirical Fisher), invert it in blocks along the weights, and
    add up the moves of weights that go together as if each went alone. Biases stay as they are.

    Raises `PrunusError` for a density outside (0, 1], a share outside [0, 1), damping that is not positive, and
    factors of another size.
    """
    check_density(density)
    own = plain_weights(model)
    flat = torch.cat([weight.reshape(-1) for weight in own.values()]).double()
    if factors.ndim != 2 or factors.shape[1] != len(flat):
        raise PrunusError(f"factors of the curvature are {tuple(factors.shape)}, for {len(flat)} weights.")
    if not damping > 0:
        raise PrunusError(f"damping {damping} is not positive.")
    if not 0 <= share < 1:
        raise PrunusError(f"the share that goes at a time is from 0 to below 1, found {share}.")
    kept = scope(split(_turns(flat, factors, damping, share), own), density)
    alive = torch.cat([each.reshape(-1) for each in kept.values()])
    places, gone = alive.nonzero()[:, 0], (~alive).nonzero()[:, 0]
    half = _root(_sums(places, flat, factors)[0], damping)
    moved, _ = _left(places, flat, factors, half, _sums(gone, flat, factors)[1])
    found = split(torch.zeros_like(flat).scatter_(0, places, moved), own)
    return {name: found[name].to(weight) for name, weight in own.items()}, Mask(kept)


def _turns(flat: Tensor, factors: Tensor, damping: float, share: float) -> Tensor:
    """The number at which each weight goes, from 0; of those that cost the same the last goes first."""
    turns, places = torch.zeros_like(flat), torch.arange(len(flat), device=flat.device)
    gram, pull = _sums(places, flat, factors)[0], flat.new_zeros(len(factors))
    while len(places):
        moved, inverse = _left(places, flat, factors, _root(gram, damping), pull)
        order = (moved.square() / inverse).flip(0).argsort(stable=True)
        first = len(places) - 1 - order[: max(1, int(share * len(places)))]
        going = places[first]
        turns[going] = torch.arange(len(flat) - len(places), len(flat) - len(places) + len(going)).to(turns)
        lost, pulled = _sums(going, flat, factors)
        gram, pull = gram - lost, pull + pulled
        staying = torch.ones_like(places, dtype=torch.bool)
        staying[first] = False
        places = places[staying]
    return turns


def _sums(places: Tensor, flat: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Over `places`, G G^T and G w_G."""
    gram = torch.zeros(len(factors), len(factors), dtype=flat.dtype, device=flat.device)
    pull = torch.zeros_like(gram[0])
    for some in _few(places, factors):
        part = factors[:, some].double()
        gram.addmm_(part, part.T)
        pull.addmv_(part, flat[some])
    return gram, pull


def _root(gram: Tensor, damping: float) -> Tensor:
    """The Cholesky factor of M."""
    half: Tensor
    half, failed = torch.linalg.cholesky_ex(gram + damping * torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
    if failed:
        raise PrunusError("the curvature is not finite, or too large for the damping, which must be raised.")
    return half


def _left(places: Tensor, flat: Tensor, factors: Tensor, half: Tensor, pull: Tensor) -> tuple[Tensor, Tensor]:
    """The weights at the `places` that are left once the others have gone, and `damping` times [H^-1]_qq."""
    pull = torch.cholesky_solve(pull[:, None], half)[:, 0]
    moved, inverse = list[Tensor](), list[Tensor]()
    for some in _few(places, factors):
        part = factors[:, some].double()
        moved.append(flat[some] + pull @ part)
        inverse.append(1 - torch.linalg.solve_triangular(half, part, upper=False).square().sum(0))
    return torch.cat(moved), torch.cat(inverse).clamp(min=torch.finfo(flat.dtype).tiny)


def _few(places: Tensor, factors: Tensor) -> Iterator[Tensor]:
    """`places` in parts of which `AT_ONCE` holds all factors."""
    return iter(places.split(max(1, AT_ONCE // max(1, len(factors)))))
