"""Masks: found by a score in trained weights, or drawn by chance as controls."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

from prunus import parts
from prunus import scope as scopes
from prunus.errors import PrunusError
from prunus.evidence import MEASURES, measured
from prunus.laboratory.task import Task, check_code
from prunus.mask import Mask
from prunus.pattern import Pattern
from prunus.pruning import Score, prune
from prunus.scope import Scope, given
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
    named as on the command line. `initial` are the weights before training, for scores that ask for them.
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

    def make(self, bench: Bench) -> Outcome:
        """Score and choose."""
        trained: Snapshot = bench.result(self.trained)
        weights = prunable(trained.weights)
        score, pattern = self._worth(), parts.pattern_named(self.pattern)
        within = bench.result(self.within) if self.within else everything(weights)
        density, scope = self._share(bench, kept_atoms(within, pattern), pattern)
        mask = prune(
            weights,
            score,
            density,
            pattern=pattern,
            scope=scope,
            within=within,
            **self._evidence(bench, signature(score).parameters, trained),
        )
        return Outcome(mask, {"density": mask.density, "densities": mask.densities()})

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

    def _evidence(self, bench: Bench, needs: Collection[str], trained: Snapshot) -> dict[str, Any]:
        evidence: dict[str, Any] = {}
        if "initial" in needs and self.initial:
            evidence["initial"] = prunable(bench.result(self.initial).weights)
        if "generator" in needs:
            evidence["generator"] = generator_for(self.seed, "score")
        if not MEASURES.keys().isdisjoint(needs):
            with quiet():
                model = self.task.network()
            trained.restore_weights(model)
            train = self.task.read().train
            evidence |= measured(needs, model, lambda: train.batches(256, most=16))
        return evidence


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
