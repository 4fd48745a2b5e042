"""A range coder: arithmetic coding with carries (Pasco 1976, Martin 1979), the oldest form, free of patents.

The coder knows nothing but intervals: `code_bit` and `code_number` both write and read, so that one walk
through a model serves encoder and decoder. `encode` and `decode` do whole sequences under a static model.
The numbers of the coder: `low` and `range` below 2**48, a byte leaves whenever `range` falls below 2**40, and
a carry runs back through the bytes already written. Bytes past the end of the data read as zero.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.code.bits import Bytes, Unsigned
from prunus.code.compiled import compiled
from prunus.code.histogram import PRECISION, Histogram
from prunus.errors import FormatError

TOP = 1 << 48
BOTTOM = 1 << 40

Coder = tuple[NDArray[np.int64], NDArray[np.uint8]]
LOW, RANGE, POSITION, READING = 0, 1, 2, 3  # when reading, LOW holds (the bytes read) - low


def writer(capacity: int) -> Coder:
    """A coder that writes into `capacity` bytes; past them it only counts."""
    return np.array([0, TOP - 1, 0, 0], np.int64), np.zeros(capacity, np.uint8)


def reader(data: Bytes) -> Coder:
    """A coder that reads `data`."""
    start = int.from_bytes(bytes(data[:6]).ljust(6, b"\0"), "big")
    buffer = np.frombuffer(data, np.uint8)
    return np.array([min(start, TOP - 2), TOP - 1, 6, 1], np.int64), np.require(buffer, requirements="W")


def finish(coder: Coder) -> bytes | None:
    """What a writer wrote, its last zeros left out; None if it did not fit."""
    state, buffer = coder
    low, span = int(state[LOW]), int(state[RANGE])
    zeros = next(k for k in range(47, -1, -1) if (low + (1 << k) - 1) >> k << k < low + span)
    last = (low + (1 << zeros) - 1) >> zeros << zeros
    narrow(state, buffer, last - low, BOTTOM)
    position = int(state[POSITION])
    if position > buffer.size:
        return None
    return buffer[:position].tobytes() + int(state[LOW]).to_bytes(6, "big").rstrip(b"\0")


def check_end(coder: Coder) -> None:
    """FormatError when a reader went on past the end of its data, or did not get there."""
    state, buffer = coder
    if not buffer.size <= state[POSITION] <= buffer.size + 6:
        raise FormatError(f"the range-coded symbols do not end with their {buffer.size} bytes.")


def encode(symbols: Unsigned, model: Histogram) -> bytes:
    """`symbols` under a static model that knows all of them, within a byte of its ideal cost."""
    coder = writer(int(model.cost(symbols) / 8 * 1.001) + 16)
    _walk(*coder, symbols.reshape(-1), _cumulative(model), np.zeros(1, np.uint16))
    data = finish(coder)
    assert data is not None
    return data


def decode(data: Bytes, model: Histogram, count: int) -> Unsigned:
    """The `count` symbols that `encode` wrote; FormatError when the data ends too early or too late."""
    coder = reader(data)
    dtype = np.uint8 if model.frequencies.size <= 256 else np.uint16
    symbols: Unsigned = np.zeros(count, dtype)
    lookup = np.repeat(np.arange(model.frequencies.size, dtype=dtype), model.frequencies)
    _walk(*coder, symbols, _cumulative(model), lookup)
    check_end(coder)
    return symbols


def _cumulative(model: Histogram) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(model.frequencies)])


@compiled
def _walk(state: Any, buffer: Any, symbols: Any, cumulative: Any, lookup: Any) -> Any:
    """Write `symbols`, or read them: `lookup` gives the symbol of each of the 2**16 parts of the range."""
    for i in range(symbols.size):
        part = state[RANGE] >> PRECISION
        symbol = np.int64(symbols[i])
        if state[READING]:
            symbol = np.int64(lookup[min(state[LOW] // part, (1 << PRECISION) - 1)])
            symbols[i] = symbol
        narrow(state, buffer, part * cumulative[symbol], part * (cumulative[symbol + 1] - cumulative[symbol]))


@compiled
def code_bit(state: Any, buffer: Any, bit: Any, one: Any) -> Any:
    """Write `bit`, or read and return it, where the probability of a 1 is `one` / 2**16, 0 < one < 2**16."""
    part = (state[RANGE] >> 16) * one
    if state[READING]:
        bit = 1 if state[LOW] < part else 0
    if bit:
        narrow(state, buffer, 0, part)
    else:
        narrow(state, buffer, part, state[RANGE] - part)
    return bit


@compiled
def code_number(state: Any, buffer: Any, number: Any, bits: Any) -> Any:
    """Write a `number` of up to 32 bits, all values equally likely, or read and return it."""
    part = state[RANGE] >> bits
    if state[READING]:
        number = min(state[LOW] // part, (1 << bits) - 1)
    narrow(state, buffer, part * number, part)
    return number


@compiled
def narrow(state: Any, buffer: Any, start: Any, span: Any) -> Any:
    """Go on with the part [start, start + span) of the range, and move the bytes that are settled."""
    position = state[POSITION]
    size = buffer.size
    if state[READING]:
        low = min(state[LOW] - start, span - 1)  # altered data may point past the part
        while span < BOTTOM:
            low = low << 8 | (np.int64(buffer[position]) if position < size else 0)
            span <<= 8
            position += 1
    else:
        low = state[LOW] + start
        if low >= TOP:
            low -= TOP
            back = position - 1
            while back >= 0 and (back >= size or buffer[back] == 255):
                if back < size:
                    buffer[back] = 0
                back -= 1
            if back >= 0:
                buffer[back] += 1
        while span < BOTTOM:
            if position < size:
                buffer[position] = low >> 40
            low = (low & (BOTTOM - 1)) << 8
            span <<= 8
            position += 1
    state[LOW] = low
    state[RANGE] = span
    state[POSITION] = position
