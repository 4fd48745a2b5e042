"""How the weights of a random network are drawn."""

from dataclasses import dataclass
from math import prod
from typing import Protocol

from torch import Tensor

from prunus.errors import PrunusError

LARGEST = 1 << 28  # random weights, 1 GiB in fp32


class Distribution(Protocol):
    """What a random weight may be."""

    def draw(self, seed: int, stream: int, shape: tuple[int, ...]) -> Tensor:
        """Independent float32 values, the same on every machine."""
        ...


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
