"""Which inputs each output of a layer is connected to: what the kernels of a layer need to know of its mask."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from prunus.errors import PrunusError
from prunus.kernel.vectors import LINE

LINES = 512  # of inputs that are to stay in the nearest cache
RUN = 12  # kept entries of a row and block, at least, for taking up its sums to be worth it


class Order(NamedTuple):
    """The kept entries of a matrix, row by row within blocks of columns."""

    starts: Tensor  # (blocks * rows + 1,) int64
    offsets: Tensor  # (kept,) int32, where an entry's line of inputs is, in bytes
    places: Tensor  # (kept,) int32, which of the values an entry has; empty where they are in this order


@dataclass(frozen=True)
class LinearConnections:
    """The kept entries of the weight (outputs, inputs) of a linear layer, in the order that suits the kernels.

    `entries` has the place of each in the flattened weight: weight.flatten()[entries] are the `values`.
    """

    shape: tuple[int, int]
    entries: Tensor  # (kept,) int64
    forward: Order
    backward: Order

    @classmethod
    def of(cls, kept: Tensor) -> "LinearConnections":
        """The connections that a boolean `kept` (outputs, inputs) leaves."""
        if kept.dtype != torch.bool or kept.ndim != 2:
            raise PrunusError(f"kept: found {kept.dtype} {tuple(kept.shape)}, expected booleans (outputs, inputs).")
        high, wide = kept.shape
        density = len(kept.nonzero()) / max(1, kept.numel())
        outputs, inputs = kept.nonzero(as_tuple=True)
        block = block_size(wide, LINES // 4, density)
        order, starts = ordered(inputs // block, outputs, (blocks_of(wide, block), high))
        outputs, inputs = outputs[order], inputs[order]
        forward = Order(starts, (inputs * LINE).int(), order.new_empty(0).int())
        block = block_size(high, LINES // 4, density)
        places, starts = ordered(outputs // block, inputs, (blocks_of(high, block), wide))
        backward = Order(starts, (outputs[places] * LINE).int(), places.int())
        return cls((high, wide), outputs * wide + inputs, forward, backward)

    def scattered(self, values: Tensor) -> Tensor:
        """The weight with `values` at the kept entries and zeros elsewhere."""
        weight = values.new_zeros(self.shape)
        return weight.flatten().index_put((self.entries,), values).view(self.shape)


def block_size(columns: int, smallest: int, density: float) -> int:
    """How many columns a block has: few enough to stay in cache, enough for a run of kept entries."""
    size = smallest
    while size < columns and size * density < RUN:
        size *= 2
    return size


def blocks_of(columns: int, block: int) -> int:
    """How many blocks there are, at least one."""
    return max(1, -(-columns // block))


def ordered(blocks: Tensor, rows: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The order of entries by block and row, of which there are `shape`, and where each row of each block starts."""
    keys = blocks * shape[1] + rows
    starts = torch.zeros(shape[0] * shape[1] + 1, dtype=torch.int64)
    starts[1:] = torch.bincount(keys, minlength=shape[0] * shape[1]).cumsum(0)
    return torch.argsort(keys, stable=True), starts
