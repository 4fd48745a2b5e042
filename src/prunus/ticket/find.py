"""Iterative pruning with rewinding: train, prune, return to an early moment, again.

Source: Frankle & Carbin 2019, "The lottery ticket hypothesis", section 2; Frankle et al. 2020 for moments after the
first step; Renda et al. 2020 for learning-rate rewinding.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from prunus import scope as scopes
from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.pattern import Pattern, element
from prunus.pruning import Score, prune
from prunus.scope import Scope, count, given
from prunus.score import magnitude
from prunus.snapshot import Snapshot, copied
from prunus.tree import Tree, detached, prunable

Train = Callable[[Snapshot, Mask], Snapshot]
"""The user's own training: from a start, under a mask, to the trained end; it may change what it is given."""

Rewind = Callable[[Snapshot, Snapshot], Snapshot]
"""From the start of all rounds and the end of the last one to the start of the next."""


@dataclass(frozen=True, eq=False)
class Ticket:
    """A subnetwork: the moment it starts from, the entries it keeps, and what training made of it."""

    round: int
    mask: Mask
    start: Snapshot
    trained: Snapshot

    @property
    def density(self) -> float:
        """Kept / total."""
        return self.mask.density


def to_start(start: Snapshot, trained: Snapshot) -> Snapshot:
    """Everything returns to the moment of `start`: weights, optimizer, schedule, data order."""
    return start


def learning_rate(start: Snapshot, trained: Snapshot) -> Snapshot:
    """The schedule returns to the moment of `start`, the weights go on as trained (Renda et al. 2020)."""
    return replace(start, weights=trained.weights, buffers=trained.buffers)


def fine_tuning(start: Snapshot, trained: Snapshot) -> Snapshot:
    """Nothing returns: weights and schedule go on (Han et al. 2015)."""
    return trained


def find(
    train: Train,
    start: Snapshot,
    *,
    rounds: int,
    keep: float = 0.8,
    keeps: Mapping[str, float] = {},
    rewind: Rewind = to_start,
    score: Score = magnitude,
    pattern: Pattern = element,
    scope: Scope = scopes.tensor,
    **evidence: Any,
) -> Iterator[Ticket]:
    """The dense network (round 0), then a ticket a round, each with `keep` of the atoms of the one before.

    `train(start, mask)` is any training that holds the mask, as with `hold`, or with `hold_sparse` so that rounds get
    cheaper as they get sparser; it works on copies, and gives dense weights back. `keeps` are the parts that single
    tensors keep instead: the paper's output layer loses half of what the others do. `start` is the moment to rewind to:
    the first step, or a later one. A score that asks for `initial` gets the weights of `start`; what else
    it asks for is passed by keyword. One-shot pruning is one round. Each ticket is trained before it is given.

    Idea: what survives training has also started well: returned to its first weights, it trains alone as the whole did.
    Formula: density of round n = `keep`^n; weights of round n = those of `start`, times its mask.
    Source: Frankle & Carbin 2019, "The lottery ticket hypothesis: finding sparse, trainable neural networks", section
    2; Frankle et al. 2020, "Linear mode connectivity and the lottery ticket hypothesis", for a later `start`.
    Use: to know how small a network could have been; to have a small one, gradual pruning is cheaper.
    Cost: a training a round, and one before the first.
    Differs: counts are exact, and what has gone is zero to the bit; its authors let optimizers move it and mask again.

    Raises `PrunusError`, before the first training, for fewer than 0 rounds, a part outside (0, 1], and `keeps` that
    name other tensors or meet another scope than `tensor`; later on for what `prune` refuses.

    >>> layer = torch.nn.Linear(4, 2)
    >>> tickets = find(lambda start, mask: start, Snapshot.take(layer), rounds=2, keep=0.5)
    >>> [ticket.density for ticket in tickets]
    [1.0, 0.5, 0.25]
    """
    initial = prunable(start.weights)
    mask = everything(initial)
    check_parts(mask, keep, keeps, scope)
    if rounds < 0:
        raise PrunusError(f"rounds must be at least 0, found {rounds}.")
    moment = trained = start
    for number in range(rounds + 1):
        if number:
            alive = kept_atoms(mask, pattern)
            mask = prune(
                prunable(trained.weights),
                score,
                next_density(alive, keep, keeps),
                pattern=pattern,
                scope=next_scope(scope, alive, keep, keeps),
                within=mask,
                **{"initial": initial, **evidence},
            )
            moment = rewind(start, trained)
        trained = _alone(train(_alone(moment), Mask(detached(mask))))
        if missing := [name for name in mask if name not in trained.weights]:
            raise PrunusError(f"train gave no {', '.join(missing[:3])} back; densify a sparse network first.")
        yield Ticket(number, mask, moment, trained)


def everything(weights: Tree) -> Mask:
    """The mask that prunes nothing of `weights`."""
    return Mask({name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()})


def check_parts(mask: Mask, keep: float, keeps: Mapping[str, float], scope: Scope) -> None:
    """Raise `PrunusError` where the tensors of `mask` cannot keep such parts of what they have."""
    check_ranges(keep, keeps)
    if missing := [name for name in keeps if name not in mask]:
        raise PrunusError(f"no weights named {', '.join(missing[:3])}; there are {', '.join(mask)}.")
    if keeps and scope is not scopes.tensor:
        raise PrunusError("parts of single tensors need the scope `tensor`, where tensors do not compete.")


def check_ranges(keep: float, keeps: Mapping[str, float]) -> None:
    """Raise `PrunusError` for a part to keep outside (0, 1]."""
    for name, part in {"keep": keep, **keeps}.items():
        if not 0 < part <= 1:
            raise PrunusError(f"{name}: the part to keep, {part}, is outside (0, 1].")


def kept_atoms(mask: Mask, pattern: Pattern) -> Mask:
    """The atoms of `pattern` of which `mask` keeps an entry."""
    return Mask({name: pattern.atoms(kept.float()) > 0 for name, kept in mask.items()})


def next_density(mask: Mask, keep: float, keeps: Mapping[str, float]) -> float:
    """Kept / total of the next round: each tensor keeps `keep`, or its own part in `keeps`, of what it has."""
    if not keeps:
        return mask.density * keep
    return sum(_next_counts(mask, keep, keeps).values()) / mask.total


def next_scope(scope: Scope, mask: Mask, keep: float, keeps: Mapping[str, float]) -> Scope:
    """`scope`, or where tensors keep parts of their own, the one that gives each the part it is to keep."""
    check_parts(mask, keep, keeps, scope)
    if scope is not scopes.tensor:
        return scope
    counts = _next_counts(mask, keep, keeps)
    return given({name: kept / max(mask[name].numel(), 1) for name, kept in counts.items()})


def _next_counts(mask: Mask, keep: float, keeps: Mapping[str, float]) -> dict[str, int]:
    return {name: count(keeps.get(name, keep), int(kept.sum())) for name, kept in mask.items()}


def _alone(moment: Snapshot) -> Snapshot:
    """A copy that shares nothing with `moment`."""
    return Snapshot(**copied(vars(moment)))
