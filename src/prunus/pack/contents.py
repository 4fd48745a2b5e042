"""What is in a file, tensor by tensor, with the bound that entropy sets beside the bytes really taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from prunus.code.bits import Unsigned
from prunus.code.histogram import entropy


@dataclass(frozen=True)
class Label:
    """What a file says of itself: the format's version, the built-in network it fits, free text."""

    version: int
    model: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Stored:
    """One tensor in a file.

    `kept`: entries that are not all zero bits; `distinct`: how many different values they have; `bytes`: what
    the tensor takes in the file; `entropy_bytes`: see `order_0_bytes`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    kept: int
    distinct: int
    codec: str
    bytes: int
    entropy_bytes: int


@dataclass(frozen=True)
class Contents:
    """A whole file: `overhead_bytes` of `file_bytes` are headers, table and checksums, the rest tensors."""

    label: Label
    file_bytes: int
    overhead_bytes: int
    tensors: tuple[Stored, ...]


def order_0_bytes(stored: Unsigned) -> tuple[int, int, int]:
    """Of the flat integers `stored`: how many are kept, how many different ones, their order-0 bound.

    The bound, in bytes: n H(kept / n) bits for the places, the entropy of the kept values, and the list of
    them once (or the kept values as they are, where that is less). Codecs that see context can go below it.
    """
    values = stored[stored != 0]
    places = entropy(np.array([values.size, stored.size - values.size]))
    if values.itemsize <= 2:
        counts = np.bincount(values) if values.size else np.zeros(0, np.int64)
        counts = counts[counts > 0]
    else:
        counts = np.unique(values, return_counts=True)[1]
    bits = 8 * stored.itemsize
    return (
        values.size,
        counts.size,
        ceil((places + min(entropy(counts) + counts.size * bits, values.size * bits)) / 8),
    )
