"""What random numbers can stand for, measured: weights drawn uniformly, and those of a trained network."""

import hashlib
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from prunus import draws
from prunus.checkpoint import read_weights
from prunus.errors import PrunusError
from prunus.store import Bench, Outcome
from prunus.subset_sum import Drawn, bounds, closest, fewest
from prunus.ticket.noise import generator_for

_BLOCK = 1024  # draws at a time


@dataclass(frozen=True, eq=False)
class Summed:
    """The nearest sums to targets uniform on [-1/2, 1/2], of the first 1, 2, ... `items` of numbers on [-1, 1].

    Every target has numbers of its own. Measured for each count of items: the largest error, that which one target in
    1000 exceeds, the median, and the share of targets within each of `epsilons`.
    """

    items: int
    epsilons: tuple[float, ...]
    targets: int
    seed: int

    def make(self, bench: Bench) -> Outcome:
        """Solve them all."""
        targets = _targets(self.seed, self.targets)
        numbers = self.numbers()
        rows = []
        for n in range(1, self.items + 1):
            bench.progress("subset sums", n, self.items, "")
            errors = closest(targets, numbers[:, :n]).errors.sort().values
            within = [float((errors <= epsilon).double().mean()) for epsilon in self.epsilons]
            worst, rare, median = (float(errors[_place(share, self.targets)]) for share in (1.0, 0.999, 0.5))
            rows.append({"items": n, "worst": worst, "rare": rare, "median": median, "within": within})
        return Outcome(None, {"rows": rows})

    def numbers(self) -> Tensor:  # (targets, items) float64
        """What may be added up, in steps of 2**-47: sums of many are nearer than those of single precision."""
        shape = (self.targets, self.items)
        coarse, fine = (draws.uniform(self.seed, stream, shape, -1.0, 1.0).double() for stream in (1, 2))
        return coarse + (fine + 1) * 2.0**-24


@dataclass(frozen=True, eq=False)
class Netted:
    """How many numbers uniform on [-1, 1] it takes until one alone is near, for the same targets.

    Measured for each of `epsilons`: the draw by which the part `share` of the targets has one within it.
    """

    epsilons: tuple[float, ...]
    share: float
    targets: int
    seed: int

    def make(self, bench: Bench) -> Outcome:
        """Draw until they have."""
        targets = _targets(self.seed, self.targets)[:, None]
        firsts = torch.full((len(self.epsilons), self.targets), torch.inf)
        place, first = _place(self.share, self.targets), 0
        while firsts.sort().values[:, place].isinf().any():
            drawn = draws.uniform(self.seed, 1 + first // _BLOCK, (self.targets, _BLOCK), -1.0, 1.0)
            distances = (drawn - targets).abs()
            for epsilon, found in zip(self.epsilons, firsts, strict=True):
                near = distances <= epsilon
                here = torch.where(near.any(1), first + 1.0 + near.byte().argmax(1), torch.inf)
                torch.minimum(found, here, out=found)
            first += _BLOCK
        return Outcome(None, {"draws": [int(found.sort().values[place]) for found in firsts]})


@dataclass(frozen=True, eq=False)
class Approximated:
    """What a network's weights and biases keep of random ones: as few as are within epsilon of each.

    The network is in a file, known by its bytes; `most` of its weights are looked at, drawn by `seed`. Each has numbers
    of its own, uniform between the smallest and the largest of all. Measured for each count of `items` and each of
    `epsilons`: how many a weight keeps on average, one that is not reached none; the share within epsilon; what no
    choice of numbers can do with less (`prunus.subset_sum.bounds.kept_floor`).
    """

    content: str
    items: tuple[int, ...]
    epsilons: tuple[float, ...]
    seed: int
    most: int = 20_000
    path: Path = field(default=Path(), metadata={"place": True})

    @classmethod
    def at(cls, path: Path, items: tuple[int, ...], epsilons: tuple[float, ...], seed: int) -> "Approximated":
        """That of the network in the file `path`."""
        return cls(_content(path), items, epsilons, seed, path=path.resolve())

    def make(self, bench: Bench) -> Outcome:
        """Solve them all; raises `PrunusError` where the file has changed."""
        if _content(self.path) != self.content:
            raise PrunusError(f"{self.path} has changed since this experiment was put together.")
        weights = torch.cat([w.flatten() for w in read_weights(self.path).values() if w.is_floating_point()])
        low, high = float(weights.min()), float(weights.max())
        chosen = torch.randperm(len(weights), generator=generator_for(self.seed, "weights"))[: self.most]
        rows = []
        for n in self.items:
            bench.progress("weights kept", n, max(self.items), "")
            for epsilon in self.epsilons:
                found = fewest(weights[chosen], Drawn(n, low, high, self.seed), epsilon)
                kept, within = float((found.counts * found.within(epsilon)).double().mean()), found.success(epsilon)
                floor = bounds.kept_floor(weights[chosen], n, epsilon, within)
                rows.append({"items": n, "epsilon": epsilon, "kept": kept, "within": within, "floor": floor})
        return Outcome(None, {"weights": len(weights), "rows": rows})


def _targets(seed: int, count: int) -> Tensor:
    return draws.uniform(seed, 0, (count,), -0.5, 0.5)


def _place(share: float, count: int) -> int:
    """Where in a sorted row the part `share` of it ends."""
    return ceil(share * count) - 1


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
