"""`prune`: a score, a pattern and a scope, applied to a model's weights, make a mask."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from prunus import scope as scopes
from prunus.errors import PrunusError
from prunus.mask import Mask, check_density
from prunus.pattern import Pattern, element
from prunus.scope import Scope
from prunus.tree import Tree, check_names, plain_weights, unwrapped

Score = Callable[..., Tree]


@torch.no_grad()
def prune(
    model: nn.Module | Tree,
    score: Score,
    density: float,
    *,
    pattern: Pattern = element,
    scope: Scope = scopes.network,
    within: Mask | None = None,
    allow_empty: bool = False,
    **evidence: Any,
) -> Mask:
    """The mask that keeps `density` of the atoms of `model`'s prunable weights; the model is not touched.

    `score` is a function of `weights` and of any further evidence that it names (`initial`, `gradients`, a
    `generator`, ...), which is passed on by keyword. `pattern` says which entries live or die together,
    `scope` who competes with whom. With `within`, only what that mask keeps may be kept again; `density`
    stays kept / total. A `{name: tensor}` may stand for the model.

    Raises `PrunusError` for a density outside (0, 1], evidence that is missing, scores that are NaN or of
    another shape, a pattern that does not divide a shape, more kept than `within` allows, and, unless
    `allow_empty`, a tensor left with nothing.

    >>> from prunus.score import magnitude
    >>> mask = prune({"weight": torch.tensor([[3.0, -4.0], [1.0, 2.0]])}, magnitude, density=0.5)
    >>> mask["weight"].tolist()
    [[True, True], [False, False]]
    """
    check_density(density)
    values = plain_weights(model)
    scores = scored(score, values, evidence)
    atoms = {name: pattern.atoms(entry).clamp(min=_lowest(entry)) for name, entry in scores.items()}
    if within is not None:
        check_names(within, values)
        alive = {n: pattern.atoms(within[n].to(atom.device, torch.float32)) > 0 for n, atom in atoms.items()}
        atoms = {name: _barred(atom, alive[name]) for name, atom in atoms.items()}
    kept = scope(atoms, density)
    mask = Mask({name: pattern.entries(kept[name], values[name].shape) for name in values})
    if within is not None:
        _check_inside(kept, alive, within)
        mask = mask & within
    if not allow_empty:
        _check_alive(mask)
    return mask


def iterate(
    model: nn.Module,
    score: Score,
    densities: Iterable[float],
    measure: Callable[[nn.Module], Mapping[str, Any]],
    *,
    pattern: Pattern = element,
    scope: Scope = scopes.network,
    within: Mask | None = None,
    allow_empty: bool = False,
    **evidence: Any,
) -> Mask:
    """The mask after pruning to each of `densities` in turn, what the score asks for measured anew in between.

    `measure(network)` gives that by name, for a copy of `model` whose pruned weights are zero; `evidence` stays the
    same. What has gone stays gone. SNIP and SynFlow are iterated so, before any training, along `schedule.rounds`.
    Everything else is as in `prune`. Raises `PrunusError` also for no density at all.

    >>> from prunus.evidence import flows
    >>> from prunus.schedule import rounds
    >>> from prunus.score import synflow
    >>> network = nn.Sequential(nn.Linear(4, 8, bias=False), nn.Linear(8, 2, bias=False))
    >>> iterate(network, synflow, rounds(0.25, 10), lambda n: {"flows": flows(n, torch.ones(1, 4))})
    Mask(12 of 48 kept, density 0.25)
    """
    network = deepcopy(unwrapped(model))
    mask = within
    for density in densities:
        if mask is not None:
            mask.apply_to(network)
        mask = prune(
            network,
            score,
            density,
            pattern=pattern,
            scope=scope,
            within=mask,
            allow_empty=allow_empty,
            **{**evidence, **measure(network)},
        )
    if mask is None or mask is within:
        raise PrunusError("iterated pruning needs at least one density.")
    return mask


def threshold(model: nn.Module | Tree, quality: float) -> Mask:
    """The mask of weights with |w| >= `quality` times the standard deviation of their tensor's weights.

    Source: Han et al. 2015, "Learning both weights and connections", section 3 (its quality parameter).
    """
    if not quality >= 0:
        raise PrunusError(f"quality {quality} is negative.")
    values = plain_weights(model)
    return Mask({name: w.abs() >= quality * w.std(correction=0) for name, w in values.items()})


def scored(score: Score, values: Tree, evidence: Mapping[str, Any]) -> Tree:
    """What `score` says of the weights `values`, given what it asks for; raises `PrunusError` as `prune` does."""
    parameters = list(inspect.signature(score).parameters.values())
    if not parameters or parameters[0].name != "weights":
        raise PrunusError(f"score {_name(score)} must take `weights` first.")
    for parameter in parameters[1:]:
        if parameter.default is parameter.empty and parameter.name not in evidence:
            raise PrunusError(f"score {_name(score)} needs `{parameter.name}`: pass {parameter.name}=... to prune.")
    wanted = {parameter.name for parameter in parameters[1:]}
    scores = score(values, **{name: value for name, value in evidence.items() if name in wanted})
    check_names(scores, values)
    for name, value in values.items():
        if scores[name].shape != value.shape:
            raise PrunusError(
                f"{name}: score {_name(score)} has shape {tuple(scores[name].shape)}, the weights {tuple(value.shape)}."
            )
        if scores[name].isnan().any():
            raise PrunusError(f"{name}: score {_name(score)} is NaN at {int(scores[name].isnan().sum())} entries.")
    return scores


def _name(score: Score) -> str:
    return getattr(score, "__name__", type(score).__name__)


def _lowest(score: Tensor) -> float:
    return torch.finfo(score.dtype).min if score.is_floating_point() else torch.iinfo(score.dtype).min


def _barred(atoms: Tensor, alive: Tensor) -> Tensor:
    """Atom scores as floats, -inf (below every score) where the earlier mask has no entry left."""
    return torch.where(alive, atoms if atoms.is_floating_point() else atoms.double(), -torch.inf)


def _check_inside(kept: Tree, alive: Tree, within: Mask) -> None:
    for name, chosen in kept.items():
        if bool((chosen & ~alive[name]).any()):
            raise PrunusError(f"{name}: more is to be kept than `within` (density {within.density:.4g}) still has.")


def _check_alive(mask: Mask) -> None:
    for name, kept in mask.items():
        if kept.numel() and not kept.any():
            raise PrunusError(
                f"{name}: nothing of its {kept.numel()} weights would be kept; "
                "raise the density, choose another scope, or allow it with allow_empty=True."
            )
