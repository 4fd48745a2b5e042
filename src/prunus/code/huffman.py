"""Canonical Huffman codes of at most 16 bits, the last stage of Deep Compression.

A Huffman code is the static model whose frequencies are powers of two, so `fit` gives a `Histogram` like any
other: it serialises to the code lengths, and the range coder can use it too.
Source: Huffman (1952); the length limit by package-merge, Larmore and Hirschberg (1990).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.code.bits import Bytes, Unsigned, pack
from prunus.code.compiled import compiled
from prunus.code.histogram import PRECISION, TOTAL, Histogram
from prunus.errors import FormatError


def fit(symbols: Unsigned, alphabet: int) -> Histogram:
    """The best code for `symbols`, integers below `alphabet` (at most 2**16), as a model.

    >>> fit(np.array([0, 0, 0, 0, 1, 1, 2], np.uint8), 3).frequencies.tolist()
    [32768, 16384, 16384]
    """
    counts = np.bincount(symbols.reshape(-1), minlength=alphabet)
    return Histogram.of(np.where(counts > 0, TOTAL >> code_lengths(counts), 0), detail=0)


def code_lengths(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits per symbol of the prefix code that minimises sum(weights * bits), none above 16; 0 if absent.

    >>> code_lengths(np.array([5, 0, 2, 1])).tolist()
    [1, 0, 2, 2]
    """
    present = np.flatnonzero(weights)
    order = present[np.argsort(weights[present], kind="stable")]
    leaves = weights[order]
    lengths = np.zeros(weights.size, np.int64)
    if order.size < 2:
        return lengths
    rounds = []
    items = leaves
    for _ in range(PRECISION - 1):
        rounds.append(items)
        packages = items[: items.size // 2 * 2].reshape(-1, 2).sum(1)
        items = np.sort(np.concatenate([leaves, packages]), kind="stable")
    taken = 2 * order.size - 2
    for level in [items, *reversed(rounds)]:
        # Of the `taken` cheapest items, those that are leaves; equal weights: leaves first.
        chosen = level[:taken]
        last = chosen[-1]
        cheaper = int(np.searchsorted(leaves, last, "left"))
        ties = int(np.searchsorted(leaves, last, "right")) - cheaper
        own = min(cheaper + ties, cheaper + taken - int(np.searchsorted(level, last, "left")))
        lengths[order[:own]] += 1
        taken = 2 * (taken - own)
        if not taken:
            break
    return lengths


def encode(symbols: Unsigned, model: Histogram) -> bytes:
    """`symbols` in the code that fits `model`, one after the other."""
    lengths = code_lengths(model.frequencies)
    codes = _canonical(lengths)
    flat = symbols.reshape(-1)
    return pack(codes[flat], lengths.astype(np.uint8)[flat])


def decode(data: Bytes, model: Histogram, count: int) -> Unsigned:
    """The `count` symbols that `encode` wrote; FormatError where the bits are no code or end too early."""
    lengths = code_lengths(model.frequencies)
    order = np.lexsort((np.arange(lengths.size), lengths))
    order = order[model.frequencies[order] > 0]
    per_length = np.bincount(lengths[order], minlength=PRECISION + 1)
    out: Unsigned = np.zeros(count, np.uint8 if lengths.size <= 256 else np.uint16)
    if order.size == 1:
        out[:] = order[0]
        used = 0
    else:
        used = int(_decode(np.frombuffer(data, np.uint8), order, per_length, out))
    if used < 0 or (used + 7) // 8 != len(data):
        raise FormatError(f"the Huffman-coded symbols do not end with their {len(data)} bytes.")
    return out


def _canonical(lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The code of each symbol, its first bit lowest: shorter codes first, then lower symbols."""
    codes = np.zeros(lengths.size, np.uint64)
    following, before = 0, 0
    for symbol in np.lexsort((np.arange(lengths.size), lengths)):
        length = int(lengths[symbol])
        if length:
            following <<= length - before
            codes[symbol] = int(f"{following:0{length}b}"[::-1], 2)
            following, before = following + 1, length
    return codes


@compiled
def _decode(data: Any, order: Any, per_length: Any, out: Any) -> Any:
    """The number of bits read, or -1."""
    end = 8 * data.size
    position = 0
    for i in range(out.size):
        code, first, index, length = 0, 0, 0, 1
        while True:
            if position >= end or length >= per_length.size:
                return -1
            code |= (data[position >> 3] >> (position & 7)) & 1
            position += 1
            if code - first < per_length[length]:
                out[i] = order[index + code - first]
                break
            index += per_length[length]
            first = (first + per_length[length]) << 1
            code <<= 1
            length += 1
    return position
