"""Trainings that are sparse from the start and move their mask."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from prunus.errors import PrunusError, unknown
from prunus.holding import Hold
from prunus.laboratory.trained import Trained
from prunus.rewiring import Rewiring, evolutionary, rigl, sparse_momentum
from prunus.sparse import SparseHold
from prunus.store import Bench

REWIRINGS: dict[str, Callable[..., Rewiring]] = {"set": evolutionary, "snfs": sparse_momentum, "rigl": rigl}
"""Sparse evolutionary training, sparse networks from scratch, RigL, by the names of their papers."""


@dataclass(frozen=True, eq=False)
class Rewired(Trained):
    """`start` after training as `Trained` does it, but that `mask` is only the first: it moves, as dense as it is.

    `method` is a name in `REWIRINGS`, called every `every` steps until the part `moving` of all steps; `fraction` is
    what each tensor drops at first, by default what the method's authors take. With `until`, the mask is handed on by
    `Ended`, and running means begin anew. Static sparse training is `Trained`.
    """

    method: str = "rigl"
    every: int = 100
    moving: float = 0.75
    fraction: float | None = None

    def __post_init__(self) -> None:
        if self.method not in REWIRINGS:
            raise unknown("rewiring", self.method, REWIRINGS)
        if not 0 <= self.moving <= 1:
            raise PrunusError(f"the part of all steps in which the mask moves is from 0 to 1, found {self.moving}.")

    def _moving(
        self, bench: Bench, held: Hold | SparseHold, optimizer: Optimizer, model: nn.Module, begin: int, total: int
    ) -> Rewiring:
        if self.mask is None or self.frozen:
            raise PrunusError("rewiring takes a mask, and no weights frozen at their start.")
        how: dict[str, Any] = {} if self.fraction is None else {"fraction": self.fraction}
        if self.method == "set":
            how["seed"] = self.seed
        end = round(self.moving * total)
        return REWIRINGS[self.method](held, optimizer, model, end=end, every=self.every, begin=begin, **how)
