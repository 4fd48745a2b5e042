"""Masks: found by a score in trained weights, or drawn by chance as controls."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

from torch import nn

from prunus import parts
from prunus import scope as scopes
from prunus.errors import PrunusError
from prunus.laboratory.task import Task, check_code
from prunus.mask import Mask
from prunus.measures import MEASURES, measured
from prunus.pattern import Pattern
from prunus.pruning import Score, iterate, prune
from prunus.schedule import rounds
from prunus.scope import Scope, given, toward
from prunus.score.inverted import inverted
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece
from prunus.ticket.find import everything, kept_atoms, next_density, next_scope
from prunus.ticket.noise import generator_for, quiet
from prunus.tree import prunable


@dataclass(frozen=True, eq=False)
class Pruned:
    """What a score keeps, looking at trained weights: the part `keep` of the mask `within`, or of all.

    `keeps` are the parts that single tensors keep instead, as (name, part). With `like`, as much is kept as in that
    mask, whatever `keep` says; with the scope "tensor", in every tensor as much. `score`, `pattern` and `scope` are
    named as on the command line. `initial` are the weights before training, for scores that ask for them. Where scores
    would leave a tensor with nothing, `PrunusError` says so, unless `allow_empty`.
    """

    task: Task
    trained: Piece
    keep: float = 1.0
    keeps: tuple[tuple[str, float], ...] = ()
    like: Piece | None = None
    within: Piece | None = None
    initial: Piece | None = None
    score: str = "magnitude"
    score_code: str | None = None
    pattern: str = "element"
    scope: str = "tensor"
    seed: int = 0
    allow_empty: bool | None = None  # None is no, and in no identity

    def make(self, bench: Bench) -> Outcome:
        """Score and choose."""
        trained: Snapshot = bench.result(self.trained)
        pattern = parts.pattern_named(self.pattern)
        within = bench.result(self.within) if self.within else everything(prunable(trained.weights))
        mask = self._found(bench, trained, within, pattern)
        return Outcome(mask, {"density": mask.density, "densities": mask.densities()})

    def _found(self, bench: Bench, trained: Snapshot, within: Mask, pattern: Pattern) -> Mask:
        score = self._worth()
        density, scope = self._share(bench, kept_atoms(within, pattern), pattern)
        needs = signature(score).parameters
        evidence = self._evidence(bench, needs)
        if MEASURES.keys() & needs.keys():
            evidence |= measured(needs, self._network(trained), self.task.read())
        return prune(
            prunable(trained.weights),
            score,
            density,
            pattern=pattern,
            scope=scope,
            within=within,
            allow_empty=bool(self.allow_empty),
            **evidence,
        )

    def _worth(self) -> Score:
        check_code("score", self.score, self.score_code)
        return parts.score_named(self.score)

    def _share(self, bench: Bench, alive: Mask, pattern: Pattern) -> tuple[float, Scope]:
        """The density to have, and how tensors share it, counted in atoms, of which some are `alive`."""
        keeps, scope = dict(self.keeps), parts.scope_named(self.scope)
        if self.like:
            like = kept_atoms(bench.result(self.like), pattern)
            return like.density, given(like.densities()) if scope is scopes.tensor else scope
        return next_density(alive, self.keep, keeps), next_scope(scope, alive, self.keep, keeps)

    def _evidence(self, bench: Bench, needs: Collection[str]) -> dict[str, Any]:
        evidence: dict[str, Any] = {}
        if "initial" in needs and self.initial:
            evidence["initial"] = prunable(bench.result(self.initial).weights)
        if "generator" in needs:
            evidence["generator"] = generator_for(self.seed, "score")
        return evidence

    def _network(self, trained: Snapshot) -> nn.Module:
        with quiet():
            model = self.task.network()
        trained.restore_weights(model)
        return model


@dataclass(frozen=True, eq=False)
class Iterated(Pruned):
    """What is left after `rounds` rounds that keep the same part of what there is, the score measured anew in each.

    The fields of `Pruned` say where it ends. With `like` and the scope "tensor", each tensor goes straight to its
    density.
    """

    rounds: int = 100

    def _found(self, bench: Bench, trained: Snapshot, within: Mask, pattern: Pattern) -> Mask:
        score, alive = self._worth(), kept_atoms(within, pattern)
        density, scope = self._share(bench, alive, pattern)
        if self.like and self.scope == "tensor":
            scope = toward(kept_atoms(bench.result(self.like), pattern).densities(), alive.densities())
        needs, data = signature(score).parameters, self.task.read()
        return iterate(
            self._network(trained),
            score,
            rounds(density, self.rounds, initial=alive.density),
            lambda network: measured(needs, network, data),
            pattern=pattern,
            scope=scope,
            within=within,
            allow_empty=bool(self.allow_empty),
            **self._evidence(bench, needs),
        )


@dataclass(frozen=True, eq=False)
class Inverted(Pruned):
    """What a score would prune first, as many entries as a `Pruned` of the same fields keeps."""

    def _worth(self) -> Score:
        return inverted(super()._worth())


@dataclass(frozen=True, eq=False)
class Shuffled:
    """A mask whose kept entries lie at random places of the same tensors."""

    mask: Piece
    seed: int

    def make(self, bench: Bench) -> Outcome:
        """Shuffle it."""
        mask: Mask = bench.result(self.mask).shuffled(generator_for(self.seed, "shuffled"))
        return Outcome(mask, {"density": mask.density, "densities": mask.densities()})


@dataclass(frozen=True, eq=False)
class MaskFile:
    """A mask that somebody has in a file, known by its bytes."""

    content: str
    path: Path = field(metadata={"place": True})

    @classmethod
    def at(cls, path: Path) -> "MaskFile":
        """The mask in the file `path`."""
        return cls(hashlib.sha256(path.read_bytes()).hexdigest(), path.resolve())

    def make(self, bench: Bench) -> Outcome:
        """Read it; raises `PrunusError` where the file has changed."""
        if hashlib.sha256(self.path.read_bytes()).hexdigest() != self.content:
            raise PrunusError(f"{self.path} has changed since this experiment was put together.")
        mask = Mask.load(self.path)
        return Outcome(mask, {"density": mask.density, "densities": mask.densities()})
