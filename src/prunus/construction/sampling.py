"""How the weights of a random network are drawn."""

from dataclasses import dataclass
from math import prod
from typing import Protocol

from torch import Tensor

from prunus import draws
from prunus.errors import PrunusError

LARGEST = 1 << 28  # random weights, 1 GiB in fp32


class Distribution(Protocol):
    """What a random weight may be."""

    def draw(self, seed: int, stream: int, shape: tuple[int, ...]) -> Tensor:
        """Independent float32 values, the same on every machine."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise PrunusError(f"no weights can be drawn from [{self.low:g}, {self.high:g}], expected low < high.")

    def draw(self, seed: int, stream: int, shape: tuple[int, ...]) -> Tensor:
        """See `prunus.draws.uniform`."""
        return draws.uniform(seed, stream, shape, self.low, self.high)


@dataclass(frozen=True)
class Hyperbolic:
    """Of either sign, with density proportional to 1 / |w| on `octaves` octaves below `high` (Orseau et al. 2020)."""

    high: float
    octaves: int

    def __post_init__(self) -> None:
        if not (self.high > 0 and self.octaves > 0):
            raise PrunusError(f"hyperbolic weights need high and octaves above 0, found {self.high:g}, {self.octaves}.")

    def draw(self, seed: int, stream: int, shape: tuple[int, ...]) -> Tensor:
        """See `prunus.draws.hyperbolic`."""
        return draws.hyperbolic(seed, stream, shape, self.high, self.octaves)


@dataclass
class Source:
    """Draws one tensor after the other, each from a stream of its own, 0 on."""

    distribution: Distribution
    seed: int
    streams: int = 0
    drawn: int = 0

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        """The next tensor; raises `PrunusError` where the network would get too large for the memory."""
        self.drawn += prod(shape)
        if self.drawn > LARGEST:
            raise PrunusError(f"the random network would have more than {LARGEST:,} weights: take fewer items.")
        self.streams += 1
        return self.distribution.draw(self.seed, self.streams - 1, shape)
