"""Entries put into lines, greedily: a window begins at the first column that any of 16 rows still has to tell."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prunus.code.compiled import compiled
from prunus.kernel.codebook_layout import Layout
from prunus.kernel.vectors import LANES

NOTHING = 1 << 62
Integers = NDArray[np.int64]


class Entries(NamedTuple):
    """The kept entries of a matrix, row by row."""

    rows: Integers  # in the order in which they are taken, -1 for none, a multiple of 16
    pointers: Integers  # (number of rows + 1,), where the entries of a row begin and end
    columns: Integers  # (kept,), ascending in a row
    codes: Integers  # (kept,)
    values: NDArray[np.float32]  # (kept,)
    wide: int  # columns of the matrix


class Lines(NamedTuple):
    """What entries are packed into."""

    words: NDArray[np.uint32]  # (lines, 16)
    starts: NDArray[np.int32]  # (lines,), the first columns of windows
    bounds: Integers  # (blocks + 1,), where the lines of 16 rows begin and end
    values: NDArray[np.float32]  # (lines, slots, 16) where the layout has no codes

    @classmethod
    def empty(cls, layout: Layout, lines: int, rows: int) -> "Lines":
        """Room for so many lines."""
        beside = np.zeros((0 if layout.coded else lines, layout.slots, LANES), np.float32)
        bounds = np.zeros(rows // LANES + 1, np.int64)
        return cls(np.zeros((lines, LANES), np.uint32), np.zeros(lines, np.int32), bounds, beside)


def count_lines(layout: Layout, entries: Entries) -> int:
    """How many lines the entries take."""
    return int(_walk(entries, Lines.empty(layout, 0, 0), *_settings(layout), False))


def pack_lines(layout: Layout, entries: Entries) -> Lines:
    """The entries, packed: their codes in the words or, where the layout has none, their values beside them."""
    lines = Lines.empty(layout, count_lines(layout, entries), len(entries.rows))
    _walk(entries, lines, *_settings(layout), True)
    return lines


def _settings(layout: Layout) -> tuple[int, int, int, int, int]:
    empty = layout.window << layout.code_bits if layout.narrow else 0
    return layout.slots, layout.bits, layout.code_bits, layout.window, empty


@compiled
def _walk(
    entries: Any,
    lines: Any,
    slots: Any,
    bits: Any,
    code_bits: Any,
    window: Any,
    empty: Any,
    filling: Any,
) -> Any:
    """The number of lines; they are written where `filling`."""
    rows, pointers, columns, codes, kept, wide = entries
    words, starts, bounds, values = lines
    following, ends = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    line = 0
    for first in range(0, len(rows), LANES):
        for lane in range(LANES):
            row = rows[first + lane]
            following[lane] = pointers[row] if row >= 0 else 0
            ends[lane] = pointers[row + 1] if row >= 0 else 0
        while True:
            start = NOTHING
            for lane in range(LANES):
                if following[lane] < ends[lane]:
                    start = min(start, columns[following[lane]])
            if start == NOTHING:
                break
            start = min(start, max(0, wide - window))
            for lane in range(LANES):
                word = 0
                for slot in range(slots):
                    entry, k = empty, following[lane]
                    if k < ends[lane] and columns[k] < start + window:
                        if filling:
                            entry = (columns[k] - start) << code_bits
                            if code_bits:
                                entry |= codes[k]
                            else:
                                values[line, slot, lane] = kept[k]
                        following[lane] += 1
                    word |= entry << bits * slot
                if filling:
                    words[line, lane] = word
            if filling:
                starts[line] = start
            line += 1
        if filling:
            bounds[first // LANES + 1] = line
    return line
