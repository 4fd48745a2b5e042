"""Which inputs the outputs of a layer are connected to: what its kernels need to know of a mask."""

from typing import Protocol, Self

import torch
from torch import Tensor

LINES = 512  # of inputs that are to stay in the nearest cache
RUN = 12  # kept entries of a row and block that are worth taking up its sums for


class Connections(Protocol):
    """The kept entries of a layer's weight, in the order that suits its kernels.

    `entries` has the place of each in the flattened weight: `values` are weight.flatten()[entries].
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""

    @property
    def entries(self) -> Tensor:
        """(kept,) int64."""

    def taken_apart(self) -> tuple[list[Tensor], list[int]]:
        """Tensors and numbers that `put_together` makes the same connections of."""

    @classmethod
    def put_together(cls, tensors: list[Tensor], numbers: list[int]) -> Self:
        """What `taken_apart` took apart."""

    def expected(self) -> tuple[int | None, ...]:
        """The sizes of an input without its batch; None where any will do."""

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The sizes of an output without its batch, of an input's."""

    def outputs(self, inputs: Tensor, values: Tensor, bias: Tensor | None, outputs: Tensor) -> None:
        """Write lanes of `outputs`, of lanes of inputs."""

    def input_gradients(self, gradients: Tensor, values: Tensor, outputs: Tensor) -> None:
        """Write lanes of the gradients of inputs, of lanes of the outputs'."""

    def value_gradients(self, gradients: Tensor, inputs: Tensor, biased: bool) -> tuple[Tensor, Tensor | None]:
        """The gradients of values and, where there is one, bias."""

    def gradients(
        self, gradients: Tensor, inputs: Tensor, values: Tensor, outputs: Tensor, biased: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Both: `input_gradients`, and `value_gradients`."""

    def reference(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What the layer computes of a batch, by PyTorch."""


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


def address(tensor: Tensor | None) -> int:
    """Where a tensor's memory is; zero for none, or an empty one."""
    return 0 if tensor is None or not tensor.numel() else tensor.data_ptr()
