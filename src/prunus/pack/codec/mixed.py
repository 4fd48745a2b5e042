"""The best codec: places, then values, every bit under mixed models that see its surroundings in the matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt, prod

import numpy as np
from numpy.typing import NDArray

from prunus.code import arithmetic
from prunus.code.bits import Bytes, Unsigned
from prunus.code.histogram import entropy
from prunus.code.levels import code_levels
from prunus.code.neighbours import Geometry
from prunus.code.places import code_places
from prunus.code.planes import code_planes
from prunus.code.steps import read_steps, write_steps
from prunus.errors import FormatError
from prunus.pack.codec import order, palette
from prunus.pack.codec.matrix import as_matrix
from prunus.pack.syntax import Source, varint

PALETTE, SPARSE, TRANSPOSED, IMAGE = 4, 8, 16, 32  # above the two bits of the order
MOST_LEVELS = 1024
TRIAL = 1 << 18  # entries that decide how all are coded
CHUNK = 1 << 16
MOST_ENTRIES_PER_BYTE = 1 << 19  # no bit costs less than 2**-15.5 bits


@dataclass(frozen=True)
class Plan:
    """How an array is coded: the head of its stream.

    `levels`: how many symbols the model of levels knows: the values of a palette, or else the highest bytes
    from `lowest` on; then `modelled` says which of the lower bytes have models.
    """

    order: int
    palette: bool
    sparse: bool
    transposed: bool = False
    width: int = 0
    plane: int = 0
    levels: int = 1
    lowest: int = 0
    modelled: int = 0

    def to_bytes(self) -> bytes:
        """The head of the stream."""
        image = self.width > 0
        flags = PALETTE * self.palette | SPARSE * self.sparse | TRANSPOSED * self.transposed | IMAGE * image
        head = bytes([flags | self.order])
        if image:
            head += varint(self.width) + varint(self.plane)
        return head + (varint(self.levels) if self.palette else bytes([self.levels - 1, self.lowest, self.modelled]))

    @staticmethod
    def read(source: Source) -> Plan:
        """The plan at the start of a stream."""
        flags = source.take(1)[0]
        if flags >= 2 * IMAGE:
            raise FormatError(f"unknown flags {flags} at the start of its stream.")
        width, plane = (source.varint(), source.varint()) if flags & IMAGE else (0, 0)
        in_palette = bool(flags & PALETTE)
        levels, lowest, modelled = (source.varint(), 0, 0) if in_palette else source.take(3)
        if not in_palette:
            levels += 1
        if not 1 <= levels <= MOST_LEVELS or max(width, plane) >= 1 << 31:
            raise FormatError(f"{levels} levels in images {width} wide.")
        return Plan(
            flags & 3,
            in_palette,
            bool(flags & SPARSE),
            bool(flags & TRANSPOSED),
            width,
            plane,
            levels,
            lowest,
            modelled,
        )

    def geometry(self, shape: tuple[int, int]) -> Geometry:
        """The walk through a matrix of that shape."""
        return Geometry(*shape, self.transposed, self.width, self.plane)


class Mixed:
    """Context mixing; the order of the values and of the walk is found by trying."""

    id = 5
    name = "mixing"

    def encode(self, array: Unsigned) -> bytes:
        """The smallest stream that a short search finds."""
        matrix = as_matrix(array)
        return _encode(matrix, _search(matrix, array.shape))

    def decode(self, data: Bytes, shape: tuple[int, ...], dtype: np.dtype[np.unsignedinteger]) -> Unsigned:
        """The array in `data`."""
        source, out = Source(data, "its stream"), np.zeros(prod(shape), dtype)
        plan = Plan.read(source)
        rest = source.rest()
        constant = plan.palette and plan.levels == 1 and not plan.sparse
        if not constant and out.size > MOST_ENTRIES_PER_BYTE * (len(rest) + 8):
            raise FormatError(f"{len(rest)} bytes cannot hold {out.size} entries.")
        if out.itemsize == 1 and not (plan.palette and plan.levels + plan.sparse <= 256):
            raise FormatError(f"{plan.levels} levels of a single byte.")
        symbols = out if out.itemsize <= 2 else np.zeros(out.size, np.uint16)
        geometry = plan.geometry(as_matrix(out.reshape(shape)).shape)
        coder = arithmetic.reader(rest)
        if plan.sparse:
            code_places(coder, symbols, geometry)
        if plan.palette:
            levels = read_steps(coder, plan.levels).astype(dtype)
            code_levels(coder, symbols, plan.levels, plan.sparse, geometry)
            order.undo(levels, plan.order)
            table = np.concatenate([np.zeros(int(plan.sparse), dtype), levels])
            for start in range(0, out.size, CHUNK):
                out[start : start + CHUNK] = table[symbols[start : start + CHUNK]]
        else:
            code_levels(coder, symbols, plan.levels, plan.sparse, geometry)
            _read_planes(coder, plan, symbols, out)
        arithmetic.check_end(coder)
        return out.reshape(shape)


def _encode(matrix: Unsigned, plan: Plan) -> bytes:
    """The stream of `matrix`, with the parts of `plan` that follow from its values filled in."""
    flat = matrix.reshape(-1)
    mask = flat != 0
    values = flat[mask] if plan.sparse else flat
    planes, levels = np.zeros((0, 1), np.uint8), np.zeros(0, np.uint64)
    if plan.palette:
        found = palette.find(values, most=MOST_LEVELS)
        assert found is not None, "the search found a palette"
        changed = order.change(found[0], plan.order)
        ranks = np.argsort(changed)
        levels = changed[ranks].astype(np.uint64)
        kept = np.argsort(ranks)[found[1]]
        plan = replace(plan, levels=levels.size)
    else:
        planes = order.planes(order.change(values, plan.order))
        lowest, highest = int(planes[:, 0].min()), int(planes[:, 0].max())
        kept = planes[:, 0].astype(np.int64) - lowest
        modelled = sum(1 << p for p in range(1, planes.shape[1]) if _has_structure(planes[:, p]))
        plan = replace(plan, levels=highest - lowest + 1, lowest=lowest, modelled=modelled)
    symbols = np.zeros(flat.size, np.uint16)
    symbols[mask if plan.sparse else slice(None)] = kept + plan.sparse
    geometry = plan.geometry(matrix.shape)
    capacity = flat.nbytes + 1024
    while True:
        coder = arithmetic.writer(capacity)
        if plan.sparse:
            code_places(coder, symbols, geometry)
        if plan.palette:
            write_steps(coder, levels)
        code_levels(coder, symbols, plan.levels, plan.sparse, geometry)
        if not plan.palette:
            code_planes(coder, planes, plan.modelled)
        data = arithmetic.finish(coder)
        if data is not None:
            return plan.to_bytes() + data
        capacity = 2 * int(coder[0][arithmetic.POSITION])


def _read_planes(coder: arithmetic.Coder, plan: Plan, symbols: Unsigned, out: Unsigned) -> None:
    """Complete the values whose highest bytes `symbols` tells: packed at the start of `out`, then spread."""
    mask = symbols != 0 if plan.sparse else np.ones(out.size, bool)
    kept = 0
    for start in range(0, out.size, CHUNK):  # `symbols` may be `out` itself: what is overwritten has been read
        part = symbols[start : start + CHUNK][mask[start : start + CHUNK]].astype(np.int32)
        out[kept : kept + part.size] = 0
        order.planes(out)[kept : kept + part.size, 0] = part + (plan.lowest - plan.sparse)
        kept += part.size
    code_planes(coder, order.planes(out[:kept]), plan.modelled)
    order.undo(out[:kept], plan.order)
    for start in range((out.size - 1) // CHUNK * CHUNK if plan.sparse else -1, -1, -CHUNK):
        here = mask[start : start + CHUNK]
        part = out[kept - np.count_nonzero(here) : kept].copy()
        kept -= part.size
        out[start : start + CHUNK] = 0
        out[start : start + CHUNK][here] = part


def _search(matrix: Unsigned, shape: tuple[int, ...]) -> Plan:
    """The plan that does best on the first rows, improved one choice after the other."""
    found = palette.find(matrix.reshape(-1), most=MOST_LEVELS)
    zeros = matrix.size - int(np.count_nonzero(matrix))
    trial = TRIAL if 2 * zeros > matrix.size else TRIAL // 4  # values take longer than zeros
    sample = matrix[: max(1, trial // matrix.shape[1])]
    width, plane = _image(shape)
    few = found is not None
    dense = zeros == 0 or zeros == matrix.size
    starts = [Plan(kind, True, not dense) for kind in (order.FLOAT, order.SIGNED)] if few else []
    if matrix.itemsize > 1 and (found is None or 4 * found[0].size > matrix.size - zeros):
        kinds = (order.SIGN_LAST, order.FLOAT, order.AS_IT_IS, order.SIGNED)
        starts += [Plan(kind, False, not dense) for kind in kinds]
    best = _better(sample, [replace(plan, width=width, plane=plane) for plan in starts])
    if width:
        best = _better(sample, [best, replace(best, width=0, plane=0)])
    if 1 not in matrix.shape:
        best = _better(sample, [best, replace(best, transposed=True)])
    if not dense and 2 * zeros < matrix.size:
        best = _better(sample, [best, replace(best, sparse=False)])
    return best


def _better(sample: Unsigned, plans: list[Plan]) -> Plan:
    return min(plans, key=lambda plan: len(_encode(sample, plan))) if len(plans) > 1 else plans[0]


def _image(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and plane of the images that the rows of a weight of this shape may hold; (0, 0): none."""
    if len(shape) > 2:
        return shape[-1], prod(shape[-2:]) if len(shape) > 3 else 0
    for channels in (1, 3):
        side = isqrt(shape[-1] // channels) if shape else 0
        if len(shape) == 2 and side > 1 and channels * side * side == shape[1]:
            return side, side * side if channels > 1 else 0
    return 0, 0


def _has_structure(plane: NDArray[np.uint8]) -> bool:
    """Whether bytes are far enough from equally likely to be worth a model; small samples look uneven."""
    bits = entropy(np.bincount(plane, minlength=256))
    return bool(bits + 255 / (2 * np.log(2)) < 7.98 * plane.size)
