"""Small pieces, made in no time."""

from dataclasses import dataclass, field
from typing import Any

import torch

from prunus.mask import Mask
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece


@dataclass(frozen=True, eq=False)
class Number:
    """A piece without parents."""

    value: int = 0

    def make(self, bench: Bench) -> Outcome:
        return Outcome(None, {"value": self.value})


@dataclass(frozen=True)
class Detail:
    """Plain values that are no piece."""

    rate: float = 0.5
    steps: int | None = None


@dataclass(frozen=True, eq=False)
class Rich:
    """A piece with a field of every kind."""

    name: str = "a"
    count: int = 1
    rate: float = 1.0
    sure: bool = True
    pairs: tuple[tuple[str, float], ...] = (("fc3.weight", 0.9),)
    detail: Detail = Detail()
    parent: Piece = Number(1)
    other: Piece | None = None
    several: tuple[Piece, ...] = (Number(2), Number(3))
    place: str = field(default="here", metadata={"place": True})

    def make(self, bench: Bench) -> Outcome:
        return Outcome()


@dataclass(frozen=True, eq=False)
class Pair:
    """A piece of two parents, either of which may be anything."""

    first: Any = None
    second: Any = None

    def make(self, bench: Bench) -> Outcome:
        return Outcome()


@dataclass(frozen=True, eq=False)
class Weights:
    """A piece that becomes a snapshot."""

    size: int = 3

    def make(self, bench: Bench) -> Outcome:
        torch.manual_seed(self.size)
        return Outcome(Snapshot.take(torch.nn.Linear(self.size, 2)), {"size": self.size})


@dataclass(frozen=True, eq=False)
class Largest:
    """A piece that becomes the mask of a parent's positive weights."""

    weights: Piece

    def make(self, bench: Bench) -> Outcome:
        mask = Mask({"weight": bench.result(self.weights).weights["weight"] > 0})
        return Outcome(mask, {"density": mask.density})
