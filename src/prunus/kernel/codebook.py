"""A matrix of few kept entries, packed to be multiplied as it is: in the reach of caches, never made dense."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus.codebook import Codebook
from prunus.errors import PrunusError
from prunus.kernel.codebook_layout import LAYOUTS, MOST_LEVELS, Layout
from prunus.kernel.codebook_packing import Entries, count_lines, pack_lines
from prunus.kernel.vectors import LANES

Levels = NDArray[np.float32]
SAMPLE = 1 << 15
PARTS = ("words", "starts", "bounds", "rows", "values")


@dataclass(frozen=True, eq=False)
class PackedMatrix:
    """The kept entries of a matrix: columns within a window, and codes into a codebook of at most 255 values.

    Rows with about as many entries go in sixteens, side by side: see `Layout`. With more different values than that,
    they lie beside the columns in single precision.

    >>> matrix = PackedMatrix.pack(torch.tensor([[0.0, 2.0, 0.0], [-1.0, 0.0, 2.0]]))
    >>> matrix.decode()
    tensor([[ 0.,  2.,  0.],
            [-1.,  0.,  2.]])
    """

    shape: tuple[int, int]
    layout: int  # a place in LAYOUTS
    words: Tensor  # (lines, 16) int32, the bits of uint32
    starts: Tensor  # (lines,) int32, the first column of a line's window
    bounds: Tensor  # (blocks + 1,) int64, where the lines of 16 rows begin and end
    rows: Tensor  # (16 * blocks,) int32, which rows they are, -1: none
    values: Tensor  # (32 or 256,) float32, the codebook; without codes (lines, slots, 16)

    @classmethod
    def pack(cls, weight: Tensor | Codebook) -> Self:
        """The nonzero entries of `weight` (rows, columns), float32 on the CPU, in the fastest layout that fits."""
        if isinstance(weight, Codebook):
            weight = weight.decode()
        weight = weight.detach()
        if weight.ndim != 2 or weight.dtype != torch.float32 or weight.device.type != "cpu":
            raise PrunusError(
                f"found {weight.dtype} {tuple(weight.shape)} on {weight.device}, "
                "expected a float32 matrix on the CPU to be packed."
            )
        row, columns = (index.contiguous().numpy() for index in weight.nonzero(as_tuple=True))
        kept = weight[weight != 0].numpy()
        if not np.isfinite(kept).all():
            raise PrunusError("a matrix to be packed holds NaN or infinity.")
        high, wide = weight.shape
        counts = np.bincount(row, minlength=high)
        rows = np.full(-(-high // LANES) * LANES, -1)
        rows[:high] = np.argsort(-counts, kind="stable")
        levels, codes = np.unique(kept, return_inverse=True)
        pointers = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        entries = Entries(rows, pointers, columns, codes.astype(np.int64), kept, wide)
        fitting = [layout for layout in LAYOUTS if layout.fits(wide, len(levels))]
        layout = min(fitting, key=lambda layout: layout.cost * count_lines(layout, entries))
        lines = pack_lines(layout, entries._replace(codes=entries.codes + layout.first_code))
        values = _table(levels, layout) if layout.coded else lines.values
        arrays = (lines.words.view(np.int32), lines.starts, lines.bounds, rows.astype(np.int32), values)
        return cls((high, wide), LAYOUTS.index(layout), *map(torch.from_numpy, arrays))

    @property
    def nbytes(self) -> int:
        """Bytes in memory: what a product reads, inputs and outputs aside."""
        return sum(getattr(self, name).nbytes for name in PARTS)

    def decode(self) -> Tensor:
        """The matrix, dense."""
        layout = LAYOUTS[self.layout]
        shifts = torch.arange(layout.slots)[:, None] * layout.bits
        slots = (self.words.long() & 0xFFFFFFFF)[:, None] >> shifts & (1 << layout.bits) - 1  # (lines, slots, 16)
        columns, codes = slots >> layout.code_bits, slots & (1 << layout.code_bits) - 1
        values = self.values[codes] if layout.coded else self.values
        full = columns < layout.window if layout.narrow else values != 0
        columns = columns + self.starts.long()[:, None, None]
        blocks = torch.repeat_interleave(self.bounds.diff())
        rows = self.rows.long().view(-1, 1, LANES)[blocks].expand_as(slots)
        weight = self.values.new_zeros(self.shape)
        weight[rows[full], columns[full]] = values[full]
        return weight


def packed_smaller(weight: Tensor) -> PackedMatrix | None:
    """`weight` packed, if that takes less than half its bytes, whose reading is what a product waits for."""
    if weight.ndim != 2 or weight.dtype != torch.float32 or weight.device.type != "cpu":
        return None
    density = int(torch.count_nonzero(weight)) / max(1, weight.numel())
    if 3 * density > 1 and len(weight.flatten()[:SAMPLE].unique()) > MOST_LEVELS + 1:
        return None  # before a dense matrix is sorted
    matrix = PackedMatrix.pack(weight)
    return matrix if 2 * matrix.nbytes < weight.nbytes else None


def _table(levels: Levels, layout: Layout) -> Levels:
    """The codebook, padded to what a lookup reaches."""
    table = np.zeros(1 << layout.code_bits, np.float32)
    table[layout.first_code : layout.first_code + len(levels)] = levels
    return table
