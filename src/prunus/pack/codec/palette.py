"""The different values of a tensor, few of them, each known by its place in the list."""

import numpy as np
from numpy.typing import NDArray

from prunus.code.bits import Unsigned

SAMPLE = 1 << 15


def find(values: Unsigned, most: int) -> tuple[Unsigned, NDArray[np.uint16]] | None:
    """The distinct `values` (flat), ascending, and the place of each in them; None if more than `most`."""
    if np.unique(values[:SAMPLE]).size > most:
        return None
    if values.itemsize > 2:
        levels = np.unique(values)
        return (levels, np.searchsorted(levels, values).astype(np.uint16)) if levels.size <= most else None
    present = np.bincount(values) > 0
    levels = np.flatnonzero(present).astype(values.dtype)
    return (levels, (np.cumsum(present) - 1).astype(np.uint16)[values]) if levels.size <= most else None
