"""Layers that hand lanes on to each other: a network turns its batches once, not at each layer.

Few rows, of which no gradient is wanted, stay a batch from layer to layer: lanes have a dimension more, which tells
them apart. Where a module of another kind is in between, hooks turn what it takes and gives, so that its code stays as
it is.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from prunus.kernel import Layer, from_lanes, has_few_rows, to_lanes
from prunus.kernel.vectors import LANES


class Chain:
    """What the layers of a network that hand lanes on know together: how large the batch is.

    Where it `branches`, values that meet must be alike, so that all are lanes.
    """

    def __init__(self, branches: bool = False) -> None:
        self.batch, self.branches = 0, branches

    def takes_batch(self, inputs: Tensor, layers: Sequence[Layer], taken: bool) -> bool:
        """Whether `inputs`, `taken` from layers before or not, are a batch that these layers leave one."""
        return inputs.ndim == 2 if taken else not self.branches and has_few_rows(inputs, layers)

    def to_lanes(self, inputs: Tensor) -> Tensor:
        """`prunus.kernel.to_lanes`."""
        self.batch = len(inputs)
        return to_lanes(inputs)

    def from_lanes(self, lanes: Tensor) -> Tensor:
        """`prunus.kernel.from_lanes`; what stayed a batch, as it is."""
        return lanes if lanes.ndim == 2 else from_lanes(lanes, self.batch)

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
