"""The fast codec: runs of zeros, then values, each under a static model and the range coder."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from prunus.code import arithmetic
from prunus.code.bits import Bytes, Unsigned
from prunus.code.compiled import compiled
from prunus.code.histogram import Histogram, entropy
from prunus.errors import FormatError
from prunus.pack.codec import order, palette
from prunus.pack.syntax import Source, varint

SPARSE, PALETTE, ROTATED = 1, 2, 4
LONGEST_RUN = 255  # the symbol for so many zeros with no value after them
CONSTANT, PLAIN, MODELLED = 0, 1, 2
MOST_LEVELS = 1024


class Ranged:
    """Zeros as run lengths where there are enough; values as places in a palette, or byte by byte."""

    id = 4
    name = "range"

    def encode(self, array: Unsigned) -> bytes:
        """The stream of `array`, its parts chosen by their statistics."""
        flat = array.reshape(-1)
        values = flat[flat != 0]
        sparse = bool(0 < values.size < 0.9 * flat.size)
        values = values if sparse else flat
        body = b""
        if sparse:
            runs = _runs(flat)
            body = varint(values.size) + varint(runs.size) + _write_symbols(runs, LONGEST_RUN + 1)
        found = palette.find(values, most=MOST_LEVELS)
        if found and (found[0].size == 1 or found[0].nbytes < values.nbytes / 4):
            levels, places = found
            body += varint(levels.size) + levels.tobytes() + _write_symbols(places, levels.size)
            return bytes([SPARSE * sparse | PALETTE]) + body
        rotated = order.change(values, order.SIGN_LAST)
        turn = _top_entropy(rotated) < _top_entropy(values)
        highest_first = order.planes(rotated if turn else values)
        return bytes([SPARSE * sparse | ROTATED * turn]) + body + b"".join(map(_write_plane, highest_first.T))

    def decode(self, data: Bytes, shape: tuple[int, ...], dtype: np.dtype[np.unsignedinteger]) -> Unsigned:
        """The array in `data`."""
        source, count = Source(data, "its stream"), prod(shape)
        head = source.take(1)[0]
        out = np.zeros(count, dtype)
        values = out
        if head & SPARSE:
            values = out[: min(source.varint(), count)]
            runs = _read_symbols(source, LONGEST_RUN + 1, source.varint(), most=count)
        if head & PALETTE:
            distinct = source.varint()
            if not 1 <= distinct <= MOST_LEVELS:
                raise FormatError(f"a palette of {distinct} values.")
            levels = np.frombuffer(source.take(distinct * dtype.itemsize), dtype)
            np.take(levels, _read_symbols(source, distinct, values.size, most=count), out=values, mode="clip")
        else:
            for plane in order.planes(values).T:
                _read_plane(source, plane)
            if head & ROTATED:
                order.undo(values, order.SIGN_LAST)
        source.end()
        if head & SPARSE and not _spread(out, runs, values.size):
            raise FormatError(f"its runs of zeros do not add up to {count} entries.")
        return out.reshape(shape)


def _runs(flat: Unsigned) -> Unsigned:
    """The zeros before each value: a 255 for each 255 of them, then the rest; none after the last value."""
    zeros = np.diff(np.flatnonzero(flat), prepend=-1) - 1
    last = np.cumsum(zeros // LONGEST_RUN + 1) - 1
    runs = np.full(last[-1] + 1, LONGEST_RUN, np.uint8)
    runs[last] = zeros % LONGEST_RUN
    return runs


@compiled
def _spread(out: Any, runs: Any, kept: Any) -> Any:
    """Move the first `kept` entries of `out` to where `runs` says, the last one first; False if they miss."""
    position, values = np.int64(-1), 0
    for run in runs:
        position += np.int64(run)
        if run != LONGEST_RUN:
            position += 1
            values += 1
    if values != kept or position >= out.size:
        return False
    for i in range(runs.size - 1, -1, -1):
        if runs[i] != LONGEST_RUN:
            values -= 1
            value = out[values]
            out[values] = 0
            out[position] = value
            position -= 1
        position -= np.int64(runs[i])
    return True


def _top_entropy(values: Unsigned) -> float:
    return entropy(np.bincount((values >> values.dtype.type(8 * values.itemsize - 8)).astype(np.uint8)))


def _write_symbols(symbols: Unsigned, alphabet: int) -> bytes:
    """A model and its symbols; nothing where there is only one symbol to choose from."""
    if alphabet == 1:
        return b""
    model = Histogram.fit(symbols, alphabet)
    data = arithmetic.encode(symbols, model)
    return model.to_bytes() + varint(len(data)) + data


def _read_symbols(source: Source, alphabet: int, count: int, most: int) -> Unsigned:
    if count > most:
        raise FormatError(f"{count} symbols for {most} entries.")
    if alphabet == 1:
        return np.zeros(count, np.uint8)
    model, used = Histogram.from_bytes(source.data[source.position :], alphabet)
    source.take(used)
    return arithmetic.decode(source.take(source.varint()), model, count)


def _write_plane(plane: Unsigned) -> bytes:
    if (plane == plane[0]).all():
        return bytes([CONSTANT, plane[0]])
    modelled = _write_symbols(plane, 256)
    return bytes([MODELLED]) + modelled if len(modelled) < 0.99 * plane.size else bytes([PLAIN]) + plane.tobytes()


def _read_plane(source: Source, out: Unsigned) -> None:
    mode = source.take(1)[0]
    if mode == CONSTANT:
        out[:] = source.take(1)[0]
    elif mode == PLAIN:
        out[:] = np.frombuffer(source.take(out.size), np.uint8)
    elif mode == MODELLED:
        out[:] = _read_symbols(source, 256, out.size, most=out.size)
    else:
        raise FormatError(f"unknown mode {mode} of a plane of bytes.")
