"""Layers that hand lanes on to each other: a network turns its batches once, not at each layer.

Where a module of another kind is in between, hooks turn what it takes and gives, so that its code stays as it is.
"""

from typing import Any

from torch import Tensor, nn

from prunus.kernel import from_lanes, to_lanes
from prunus.kernel.vectors import LANES


class Chain:
    """What the layers of a network that hand lanes on know together: how large the batch is."""

    def __init__(self) -> None:
        self.batch = 0

    def to_lanes(self, inputs: Tensor) -> Tensor:
        """`prunus.kernel.to_lanes`."""
        self.batch = len(inputs)
        return to_lanes(inputs)

    def from_lanes(self, lanes: Tensor) -> Tensor:
        """`prunus.kernel.from_lanes`."""
        return from_lanes(lanes, self.batch)

    @property
    def is_full(self) -> bool:
        """Whether no tile has lanes beyond the batch."""
        return self.batch % LANES == 0


class TakesLanes:
    """A hook before a module that takes batches: lanes come."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The batch of the lanes."""
        return (self.chain.from_lanes(inputs[0]), *inputs[1:])


class GivesLanes:
    """A hook behind a module that gives batches: lanes go."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        """The lanes of the batch."""
        return self.chain.to_lanes(output)


HOOKS = (TakesLanes, GivesLanes)
