"""The codecs of the file format: each turns an array of unsigned integers into bytes and back."""

from typing import Protocol

import numpy as np

from prunus.code.bits import Bytes, Unsigned
from prunus.errors import FormatError
from prunus.pack.codec.drawn import Drawn
from prunus.pack.codec.mixed import Mixed
from prunus.pack.codec.ranged import Ranged
from prunus.pack.codec.raw import Raw
from prunus.pack.codec.relative import RelativeIndex

__all__ = ["Codec", "Drawn", "Mixed", "Ranged", "Raw", "RelativeIndex", "by_id"]


class Codec(Protocol):
    """A codec: the settings with which to encode are its fields; what decoding needs is in the bytes."""

    @property
    def id(self) -> int:
        """The codec's number in the file."""
        ...

    @property
    def name(self) -> str:
        """The codec's name in reports."""
        ...

    def encode(self, array: Unsigned) -> bytes:
        """`array`, at least one entry, of any shape and any width of unsigned integer, as bytes."""
        ...

    def decode(self, data: Bytes, shape: tuple[int, ...], dtype: np.dtype[np.unsignedinteger]) -> Unsigned:
        """The array that was encoded; FormatError when `data` cannot be one of that shape and dtype."""
        ...


CODECS: tuple[Codec, ...] = (Raw(), RelativeIndex(), RelativeIndex(huffman=True), Ranged(), Mixed(), Drawn())


def by_id(number: int, tensor: str) -> Codec:
    """The codec with this number in the file; FormatError, naming `tensor`, if there is none."""
    for codec in CODECS:
        if codec.id == number:
            return codec
    raise FormatError(f"tensor {tensor!r} is in an unknown codec, number {number}.")
