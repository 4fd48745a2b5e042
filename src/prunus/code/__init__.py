"""Entropy coding: models say how likely symbols are, coders turn that into bits; any model fits any coder.

models   histogram.Histogram     static frequencies, stored beside the data
         huffman.fit             the same, powers of two: the best code of whole bits
         mixing                  adaptive bit by bit, mixes many contexts; drives the range coder itself
coders   arithmetic              range coder, within a byte of the model's ideal cost
         huffman                 whole bits per symbol
layouts  bits, gaps              fixed widths; the relative index of Deep Compression
"""

from collections.abc import Sequence
from math import prod
from typing import Protocol

from prunus.code.bits import Bytes, Unsigned
from prunus.code.histogram import Histogram


class Coder(Protocol):
    """What turns symbols into bits under a static model; the modules `arithmetic` and `huffman` are two."""

    def encode(self, symbols: Unsigned, model: Histogram) -> bytes:
        """`symbols`, all known to `model`, as bytes."""
        ...

    def decode(self, data: Bytes, model: Histogram, count: int) -> Unsigned:
        """The `count` symbols in `data`; FormatError when it holds something else."""
        ...


def encode(array: Unsigned, model: Histogram, coder: Coder) -> bytes:
    """The integers of `array` as bytes.

    >>> import numpy as np
    >>> from prunus.code import arithmetic, huffman
    >>> array = np.array([[0, 0, 1], [0, 2, 0]], np.uint8)
    >>> model = huffman.fit(array, alphabet=3)
    >>> for coder in (arithmetic, huffman):
    ...     data = encode(array, model, coder)
    ...     assert (decode(data, model, coder, (2, 3)) == array).all()
    """
    return coder.encode(array.reshape(-1), model)


def decode(data: Bytes, model: Histogram, coder: Coder, shape: Sequence[int]) -> Unsigned:
    """The array that `encode` took, in `shape`; FormatError when `data` holds something else."""
    return coder.decode(data, model, prod(shape)).reshape(shape)
