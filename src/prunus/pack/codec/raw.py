"""Integers as they are."""

from math import prod

import numpy as np

from prunus.code.bits import Bytes, Unsigned
from prunus.errors import FormatError


class Raw:
    """Little-endian integers, one after the other."""

    id = 1
    name = "raw"

    def encode(self, array: Unsigned) -> bytes:
        """The bytes of `array`."""
        return array.tobytes()

    def decode(self, data: Bytes, shape: tuple[int, ...], dtype: np.dtype[np.unsignedinteger]) -> Unsigned:
        """The array in `data`; it shares the memory of a bytearray."""
        needed = prod(shape) * dtype.itemsize
        if len(data) != needed:
            raise FormatError(f"{len(data)} raw bytes, expected {needed}.")
        return np.require(np.frombuffer(data, dtype), requirements="W").reshape(shape)
