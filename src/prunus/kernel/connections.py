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
        outputs, inputs = kept.nonzero(as_tuple=True)
        width = block_size(kept.shape[1], LINES // 4, kept.float().mean().item())
        order, forward = ordered(outputs, kept.shape[0], inputs, kept.shape[1], width)
        outputs, inputs = outputs[order], inputs[order]
        height = block_size(kept.shape[0], LINES // 4, kept.float().mean().item())
        places, backward = ordered(inputs, kept.shape[1], outputs, kept.shape[0], height)
        return cls(
            (kept.shape[0], kept.shape[1]),
            outputs * kept.shape[1] + inputs,
            Order(forward, (inputs * LINE).int(), order.new_empty(0).int()),
            Order(backward, (outputs[places] * LINE).int(), places.int()),
        )

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


def ordered(rows: Tensor, count: int, columns: Tensor, width: int, block: int) -> tuple[Tensor, Tensor]:
    """The order of entries by block, row and column, and where each row of each block starts in it."""
    blocks = max(1, -(-width // block))
    keys = columns // block * count + rows
    order = torch.argsort(keys * width + columns)
    starts = torch.zeros(blocks * count + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(keys, minlength=blocks * count), 0, out=starts[1:])
    return order, starts
