"""Integers in as few bits as their range needs: fixed widths, and Elias gamma for mostly small ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.code.compiled import compiled
from prunus.errors import FormatError

Unsigned = NDArray[np.unsignedinteger]
Bytes = bytes | bytearray | memoryview


def width(largest: int) -> int:
    """How many bits the integers 0..`largest` need; 0 when there is only one of them.

    >>> width(0), width(1), width(50)
    (0, 1, 6)
    """
    return int(largest).bit_length()


def pack(values: Unsigned, widths: int | NDArray[np.uint8]) -> bytes:
    """The low `widths` bits (one for all, or one each) of `values`, lowest bit first, padded with zeros.

    >>> pack(np.array([1, 2, 3], np.uint8), 2).hex()
    '39'
    """
    values = values.reshape(-1)
    each = np.broadcast_to(np.uint8(widths), values.shape) if isinstance(widths, int) else widths
    out = np.zeros((int(each.sum(dtype=np.int64)) + 7) // 8, np.uint8)
    _pack(values, each, out)
    return out.tobytes()


def unpack(data: Bytes, widths: int | NDArray[np.uint8], count: int, dtype: type[np.unsignedinteger]) -> Unsigned:
    """The `count` integers that `pack` wrote; FormatError when `data` has another length.

    >>> unpack(b"9", 2, 3, np.uint8).tolist()
    [1, 2, 3]
    """
    total = count * widths if isinstance(widths, int) else int(widths.sum(dtype=np.int64))
    if len(data) != (total + 7) // 8:
        raise FormatError(f"{count} integers in {total} bits do not take {len(data)} bytes.")
    each = np.broadcast_to(np.uint8(widths), (count,)) if isinstance(widths, int) else widths
    out = np.zeros(count, dtype)
    _unpack(np.frombuffer(data, np.uint8), each, out)
    return out


def pack_gamma(values: NDArray[np.int64]) -> bytes:
    """`values` >= 0 in Elias gamma (1975): n zeros, then the n + 1 bits of value + 1, the highest first.

    >>> pack_gamma(np.array([0, 0, 1])).hex()
    '0b'
    """
    out = np.zeros((int(_gamma_bits(values)) + 7) // 8, np.uint8)
    _pack_gamma(values, out)
    return out.tobytes()


def unpack_gamma(data: Bytes, count: int) -> tuple[NDArray[np.int64], int]:
    """The `count` integers that `pack_gamma` wrote at the start of `data`, and how many bytes they took."""
    if count > 8 * len(data):
        raise FormatError(f"{count} gamma-coded integers cannot fit in {len(data)} bytes.")
    out = np.zeros(count, np.int64)
    used = int(_unpack_gamma(np.frombuffer(data, np.uint8), out))
    if used > 8 * len(data):
        raise FormatError(f"gamma-coded integers run past the end of their {len(data)} bytes.")
    return out, (used + 7) // 8


@compiled
def _pack(values: Any, widths: Any, out: Any) -> Any:
    position = np.int64(0)
    for i in range(values.size):
        rest = np.uint64(values[i])
        left = np.int64(widths[i])
        while left > 0:
            shift = position & 7
            taken = min(np.int64(8 - shift), left)
            part = rest & np.uint64((1 << taken) - 1)
            out[position >> 3] |= np.uint8(part << np.uint64(shift))
            rest >>= np.uint64(taken)
            position += taken
            left -= taken


@compiled
def _unpack(data: Any, widths: Any, out: Any) -> Any:
    position = np.int64(0)
    for i in range(out.size):
        value = np.uint64(0)
        bits = np.int64(widths[i])
        have = np.int64(0)
        while have < bits:
            shift = position & 7
            taken = min(np.int64(8 - shift), bits - have)
            part = (np.uint64(data[position >> 3]) >> np.uint64(shift)) & np.uint64((1 << taken) - 1)
            value |= part << np.uint64(have)
            position += taken
            have += taken
        out[i] = value


@compiled
def _gamma_bits(values: Any) -> Any:
    total = 0
    for value in values:
        total += 1
        number = value + 1
        while number > 1:
            number >>= 1
            total += 2
    return total


@compiled
def _pack_gamma(values: Any, out: Any) -> Any:
    position = 0
    for value in values:
        number = value + 1
        length = 0
        while number >> (length + 1):
            length += 1
        position += length
        for i in range(length, -1, -1):
            out[position >> 3] |= np.uint8(((number >> i) & 1) << (position & 7))
            position += 1


@compiled
def _unpack_gamma(data: Any, out: Any) -> Any:
    """The number of bits read; more than `data` holds when it ends too early or a value is too large."""
    end = 8 * data.size
    position = 0
    for k in range(out.size):
        length = 0
        while position < end and not (data[position >> 3] >> (position & 7)) & 1:
            length += 1
            position += 1
        if position + length + 1 > end or length > 48:
            return end + 1
        number = np.int64(0)
        for _ in range(length + 1):
            number = number << 1 | np.int64((data[position >> 3] >> (position & 7)) & 1)
            position += 1
        out[k] = number - 1
    return position
