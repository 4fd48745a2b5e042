"""Trainings in which the mask falls along a schedule."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from inspect import signature

from torch import nn
from torch.optim import Optimizer

from prunus import parts
from prunus import scope as scopes
from prunus.errors import PrunusError
from prunus.gradual import Gradual
from prunus.holding import Hold
from prunus.laboratory.task import check_code
from prunus.laboratory.trained import Trained
from prunus.mask import Mask
from prunus.schedule import cubic
from prunus.scope import Scope, toward
from prunus.snapshot import Snapshot
from prunus.sparse import SparseHold
from prunus.store import Bench, Piece
from prunus.ticket.find import everything
from prunus.tree import prunable


@dataclass(frozen=True, eq=False)
class GraduallyPruned(Trained):
    """`start` after training as `Trained` does it, while the mask falls from all, or from `mask`, to `density`.

    The density falls along the cubic schedule from the part `begin` of all steps to the part `end`, in updates every
    `every` steps. `score`, which may ask for weights alone, and `scope` are named as on the command line. With `like`,
    it ends as dense as that mask, with the scope "tensor" in every tensor. A tensor may end with nothing. The mask is
    handed on by `Ended`.

    Source: Zhu & Gupta 2017, "To prune, or not to prune".
    """

    density: float = 0.1
    like: Piece | None = None
    begin: float = 0.0
    end: float = 0.75
    every: int = 100
    score: str = "magnitude"
    score_code: str | None = None
    scope: str = "network"

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end <= 1:
            raise PrunusError(
                f"the mask falls from the part {self.begin} of all steps to {self.end}: 0 <= begin < end <= 1."
            )
        asked = [name for name in signature(parts.score_named(self.score)).parameters if name != "weights"]
        if asked:
            raise PrunusError(
                f"gradual pruning has weights to score, and {self.score} asks for {', '.join(asked)} too."
            )
        parts.scope_named(self.scope)

    def _holding(
        self, optimizer: Optimizer, model: nn.Module, mask: Mask | None, start: Snapshot
    ) -> AbstractContextManager[Hold | SparseHold | None]:
        return super()._holding(optimizer, model, mask or everything(prunable(start.weights)), start)

    def _moving(
        self, bench: Bench, held: Hold | SparseHold, optimizer: Optimizer, model: nn.Module, begin: int, total: int
    ) -> Gradual:
        check_code("score", self.score, self.score_code)
        density, scope = self._goal(bench, held)
        first, last = round(self.begin * total), max(1, round(self.end * total))
        return Gradual(
            held,
            cubic(density, begin=min(first, last - 1), end=last),
            end=last,
            every=self.every,
            score=parts.score_named(self.score),
            scope=scope,
            allow_empty=True,
        )

    def _goal(self, bench: Bench, held: Hold | SparseHold) -> tuple[float, Scope]:
        scope = parts.scope_named(self.scope)
        if self.like is None:
            return self.density, scope
        like: Mask = bench.result(self.like)
        alike = toward(like.densities(), everything(like).densities())
        return like.density, alike if scope is scopes.tensor else scope
