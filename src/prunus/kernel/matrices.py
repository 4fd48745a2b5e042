"""Sparse linear layers: kept entries of a matrix."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from prunus.errors import PrunusError
from prunus.kernel.connections import LINES, address, block_size, blocks_of, ordered
from prunus.kernel.parallel import run
from prunus.kernel.products import GROUP, gradient, product
from prunus.kernel.vectors import LINE

ROWS = 32  # that a worker takes at a time, at least


class Order(NamedTuple):
    """The kept entries of a matrix, row by row within blocks of columns."""

    starts: Tensor  # (blocks * rows + 1,) int64
    offsets: Tensor  # (kept,) int32, where an entry's line of inputs is, in bytes
    places: Tensor  # (kept,) int32, which of the values an entry has; empty where they are in this order


@dataclass(frozen=True)
class LinearConnections:
    """The `Connections` of a linear layer; see there."""

    shape: tuple[int, int]  # (outputs, inputs)
    entries: Tensor
    forward: Order
    backward: Order

    @classmethod
    def of(cls, kept: Tensor) -> Self:
        """The connections that a boolean `kept` (outputs, inputs) leaves.

        >>> connections = LinearConnections.of(torch.tensor([[True, False], [True, True]]))
        >>> connections.entries.tolist()
        [0, 2, 3]
        """
        if kept.dtype != torch.bool or kept.ndim != 2:
            raise PrunusError(f"kept: found {kept.dtype} {tuple(kept.shape)}, expected booleans (outputs, inputs).")
        high, wide = kept.shape
        outputs, inputs = kept.cpu().nonzero(as_tuple=True)
        density = len(outputs) / max(1, kept.numel())
        block = block_size(wide, LINES // 4, density)
        order, starts = ordered(inputs // block, outputs, (blocks_of(wide, block), high))
        outputs, inputs = outputs[order], inputs[order]
        forward = Order(starts, (inputs * LINE).int(), order.new_empty(0).int())
        block = block_size(high, LINES // 4, density)
        places, starts = ordered(outputs // block, inputs, (blocks_of(high, block), wide))
        backward = Order(starts, (outputs[places] * LINE).int(), places.int())
        return cls((high, wide), outputs * wide + inputs, forward, backward)

    def taken_apart(self) -> tuple[list[Tensor], list[int]]:
        """See `Connections`."""
        return [self.entries, *self.forward, *self.backward], [*self.shape]

    @classmethod
    def put_together(cls, tensors: list[Tensor], numbers: list[int]) -> Self:
        """See `Connections`."""
        return cls((numbers[0], numbers[1]), tensors[0], Order(*tensors[1:4]), Order(*tensors[4:]))

    def expected(self) -> tuple[int | None, ...]:
        """See `Connections`."""
        return (self.shape[1],)

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """See `Connections`."""
        return (self.shape[0],)

    def outputs(self, inputs: Tensor, values: Tensor, bias: Tensor | None, outputs: Tensor) -> None:
        """See `Connections`."""
        _multiply(outputs, inputs, values, bias, self.forward)

    def input_gradients(self, gradients: Tensor, values: Tensor, outputs: Tensor) -> None:
        """See `Connections`."""
        _multiply(outputs, gradients, values, None, self.backward)

    def value_gradients(self, gradients: Tensor, inputs: Tensor, biased: bool) -> tuple[Tensor, Tensor | None]:
        """See `Connections`."""
        starts, offsets, _ = self.forward
        rows, columns = self.shape
        fresh = torch.empty if gradients.numel() else torch.zeros
        sums, bias_sums = fresh(len(offsets)), fresh(rows) if biased else None
        if gradients.numel():
            threads, blocks = torch.get_num_threads(), (len(starts) - 1) // rows
            counts = (len(gradients), rows, columns, blocks, max(ROWS, -(-rows // (2 * threads))))
            results = (gradients.data_ptr(), address(sums), address(bias_sums))
            run(gradient, threads, *counts, *results, address(inputs), address(offsets), address(starts))
        return sums, bias_sums

    def gradients(
        self, gradients: Tensor, inputs: Tensor, values: Tensor, outputs: Tensor, biased: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `Connections`."""
        self.input_gradients(gradients, values, outputs)
        return self.value_gradients(gradients, inputs, biased)

    def reference(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See `Connections`."""
        return F.linear(inputs, weight, bias)


def _multiply(outputs: Tensor, inputs: Tensor, values: Tensor, bias: Tensor | None, order: Order) -> None:
    """(tiles, columns, 16) -> (tiles, rows, 16)."""
    tiles, columns, rows = *inputs.shape[:2], outputs.shape[1]
    if outputs.numel():
        threads, blocks = torch.get_num_threads(), (len(order.starts) - 1) // rows
        pieces = 2 * threads if tiles % (GROUP * threads) else 1  # a worker that has tiles of its own reads no others
        counts = (tiles, rows, columns, blocks, max(ROWS, -(-rows // pieces)))
        factors = (address(inputs), address(order.offsets), address(values), address(order.places))
        run(product, threads, *counts, outputs.data_ptr(), address(bias), *factors, order.starts.data_ptr())
