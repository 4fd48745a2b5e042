"""A static model: how often each symbol of an alphabet is expected, in integers that sum to 2**16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prunus.code.bits import Bytes, Unsigned, pack, pack_gamma, unpack, unpack_gamma
from prunus.errors import FormatError

PRECISION = 16
TOTAL = 1 << PRECISION


def entropy(counts: NDArray[np.int64]) -> float:
    """The order-0 entropy, in bits, of a sequence in which symbol i occurs `counts[i]` times.

    >>> entropy(np.array([4, 4]))
    8.0
    """
    counts = counts[counts > 0]
    return float(counts @ np.log2(counts.sum() / counts)) if counts.size > 1 else 0.0


@dataclass(frozen=True, eq=False)
class Histogram:
    """Weights of the symbols 0..len-1, each `detail` + 1 significant bits; zero for symbols that never occur.

    Coders use `frequencies`, the weights scaled to sum to 2**16 with every present symbol at least 1.
    """

    weights: NDArray[np.int64]
    detail: int
    frequencies: NDArray[np.int64]

    @staticmethod
    def of(weights: NDArray[np.int64], detail: int) -> Histogram:
        """The model of `weights` (at most 2**16 symbols), each rounded to `detail` + 1 significant bits."""
        drop = np.maximum(_bit_length(weights) - 1 - detail, 0)
        rounded = (weights + ((1 << drop) >> 1)) >> drop << drop
        return Histogram(rounded, detail, _scaled(rounded))

    @staticmethod
    def fit(symbols: Unsigned, alphabet: int) -> Histogram:
        """The model of `symbols`, integers below `alphabet`; the more of each, the more detail pays.

        >>> Histogram.fit(np.array([0, 0, 0, 0, 1, 1], np.uint8), 2).frequencies.tolist()
        [43691, 21845]
        """
        counts = np.bincount(symbols.reshape(-1), minlength=alphabet)
        each = symbols.size // (12 * max(1, int(np.count_nonzero(counts))))
        return Histogram.of(counts, detail=min(12, int(each).bit_length() // 2))

    def cost(self, symbols: Unsigned) -> float:
        """Bits that an ideal coder spends on `symbols`, all of which the model knows."""
        counts = np.bincount(symbols.reshape(-1), minlength=self.frequencies.size)
        present = counts > 0
        return float((counts[present] * (PRECISION - np.log2(self.frequencies[present]))).sum())

    def to_bytes(self) -> bytes:
        """A compact form: `detail` and the steps between bit lengths in Elias gamma, then the lower bits."""
        lengths = _bit_length(self.weights)
        steps = np.diff(lengths, prepend=0)
        zigzag = np.where(steps > 0, 2 * steps - 1, -2 * steps)
        kept, drop = _lower_bits(lengths, self.detail)
        lower = (self.weights >> drop).astype(np.uint64)
        return pack_gamma(np.append(self.detail, zigzag)) + pack(lower, kept)

    @staticmethod
    def from_bytes(data: Bytes, alphabet: int) -> tuple[Histogram, int]:
        """The model that `to_bytes` wrote at the start of `data`, and how many bytes it took."""
        if alphabet > TOTAL:
            raise FormatError(f"a histogram of {alphabet} symbols, the most is {TOTAL}.")
        numbers, used = unpack_gamma(data, alphabet + 1)
        detail, zigzag = int(numbers[0]), numbers[1:]
        lengths = np.cumsum(np.where(zigzag & 1, (zigzag + 1) >> 1, -(zigzag >> 1)))
        if detail > 15 or (zigzag > 100).any() or lengths.min() < 0 or not 0 < lengths.max() <= 40:
            raise FormatError("a histogram in the file holds weights that no writer produces.")
        kept, drop = _lower_bits(lengths, detail)
        end = used + (int(kept.sum(dtype=np.int64)) + 7) // 8
        lower = unpack(data[used:end], kept, alphabet, np.uint64).astype(np.int64)
        weights = np.where(lengths > 0, (lower + (1 << kept.astype(np.int64))) << drop, 0)
        return Histogram(weights, detail, _scaled(weights)), end


def _bit_length(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)  # exact below 2**53


def _lower_bits(lengths: NDArray[np.int64], detail: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """How many bits below the leading one are stored, and how many zeros follow them."""
    below = np.maximum(lengths - 1, 0)
    kept = np.minimum(below, detail)
    return kept.astype(np.uint8), below - kept


def _scaled(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """`weights` scaled in integers to sum to 2**16, each present one at least 1; the largest give way."""
    total = int(weights.sum())
    frequencies = np.where(weights > 0, np.maximum(weights * TOTAL // max(total, 1), 1), 0)
    excess = int(frequencies.sum()) - TOTAL
    while excess > 0:
        largest = int(frequencies.argmax())
        taken = min(excess, int(frequencies[largest]) // 2)
        frequencies[largest] -= taken
        excess -= taken
    frequencies[frequencies.argmax()] -= excess
    return frequencies
