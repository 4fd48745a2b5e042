"""The relative index of Deep Compression: where the kept entries are, as gaps in a fixed number of bits."""

from typing import Any

import numpy as np

from prunus.code.bits import Unsigned
from prunus.code.compiled import compiled
from prunus.errors import FormatError

OUTSIDE = -2  # -1 is where to go on from before the first entry


def to_gaps(values: Unsigned, bits: int) -> tuple[Unsigned, Unsigned]:
    """The stored entries of a flat array: (gap - 1 to the entry before, value), zeros left out.

    A gap above 2**bits (`bits` at most 8) does not fit: FILLER entries of value zero are put 2**bits apart
    until it does. Source: Han, Mao, Dally, Deep Compression (ICLR 2016), section 2 and figure 2.

    >>> gaps, stored = to_gaps(np.array([0, 7, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8], np.uint8), 3)
    >>> (gaps + 1).tolist(), stored.tolist()
    ([2, 3, 8, 3], [7, 9, 0, 8])
    """
    positions = np.flatnonzero(values)
    distance = np.diff(positions, prepend=-1) - 1
    last = np.cumsum((distance >> bits) + 1) - 1  # where each kept entry lands, after its fillers
    gaps = np.full(last[-1] + 1 if last.size else 0, (1 << bits) - 1, np.uint8)
    gaps[last] = distance & ((1 << bits) - 1)
    stored = np.zeros(gaps.size, values.dtype)
    stored[last] = values[positions]
    return gaps, stored


def from_gaps(gaps: Unsigned, stored: Unsigned, out: Unsigned, start: int = 0) -> int:
    """Put `stored` into the zeros of the matrix `out`, row by row from entry `start`; where to go on.

    FormatError when the gaps lead past the end of the matrix.
    """
    position = int(_scatter(gaps, stored, out, start - 1))
    if position == OUTSIDE:
        raise FormatError(f"relative indices lead past the end of a tensor of {out.size} entries.")
    return position + 1


def stored_bits(values: Unsigned, bits: int, value_bits: int) -> int:
    """What `to_gaps` takes for the flat array `values`: (kept + fillers) * (bits + value_bits)."""
    distance = np.diff(np.flatnonzero(values), prepend=-1) - 1
    return (distance.size + int((distance >> bits).sum())) * (bits + value_bits)


@compiled
def _scatter(gaps: Any, stored: Any, out: Any, position: Any) -> Any:
    columns = out.shape[1]
    for i in range(gaps.size):
        position += np.int64(gaps[i]) + 1
        if position >= out.size:
            return OUTSIDE
        out[position // columns, position % columns] = stored[i]
    return position
