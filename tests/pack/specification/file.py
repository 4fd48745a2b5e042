"""Section 1 of docs/format.md and codecs 0 to 4 and 6 of section 2."""

import json
import struct
from math import prod
from pathlib import Path
from zlib import crc32

from .drawn import drawn_integers
from .mixing import mixing
from .streams import Bits, Bytes, huffman, model, range_symbols, restored

WIDTH = [4, 2, 2, 2, 2, 8, 1, 1, 1, 2, 4, 8, 2, 4, 8, 8, 8, 1, 1, 1, 1, 1, 4]


def relative(data: bytes, rows: int, columns: int, width: int, coded: bool) -> list[int]:
    """Codecs 2 and 3."""
    source = Bytes(data)
    flags, n = source.take(1)[0], source.varint()
    out, position = [0] * (rows * columns), -1
    if not n:
        return out
    used = source.varint() if coded else (n * (flags >> 2) + 7) // 8
    k = source.varint() if flags & 1 else 0

    def symbols(data: bytes, alphabet: int) -> list[int]:
        if coded:
            part = Bytes(data)
            frequencies = model(part, alphabet)
            return huffman(part.data, frequencies, n)
        bits = Bits(data)
        return [bits.number((alphabet - 1).bit_length()) for _ in range(n)]

    gaps = symbols(source.take(used), 1 << (flags >> 2))
    if flags & 1:
        codebook = source.integers(k, width)
        values = [codebook[code] for code in symbols(source.data, k)]
    else:
        values = source.integers(n, width)
    for gap, value in zip(gaps, values, strict=True):
        position += gap + 1
        out[position % rows * columns + position // rows if flags & 2 else position] = value
    return out


def ranged(data: bytes, count: int, width: int) -> list[int]:
    """Codec 4."""
    source = Bytes(data)
    head, v, runs = source.take(1)[0], count, [0] * count
    if head & 1:
        v = source.varint()
        runs = range_symbols(source, 256, source.varint())
    if head & 2:
        k = source.varint()
        palette = source.integers(k, width)
        values = [palette[place] for place in range_symbols(source, k, v)]
    else:
        values = [0] * v
        for _ in range(width):
            mode = source.take(1)[0]
            plane = source.take(1) * v if mode == 0 else source.take(v) if mode == 1 else range_symbols(source, 256, v)
            values = [value << 8 | byte for value, byte in zip(values, plane, strict=True)]
        values = [restored(value, head >> 2, width) for value in values]
    out, position, following = [0] * count, 0, iter(values)
    for run in runs:
        position += run
        if run != 255:
            out[position] = next(following)
            position += 1
    assert not source.data
    return out


def drawn(data: bytes, count: int, rows: int, columns: int, width: int) -> list[int]:
    """Codec 6."""
    source = Bytes(data)
    kind, seed, stream = source.take(1)[0], source.varint(), source.varint()
    (a,) = struct.unpack("<d", source.take(8))
    b = struct.unpack("<d", source.take(8))[0] if kind == 2 else source.varint() if kind == 3 else 0
    codec = source.take(1)[0]
    array = ranged(source.data, count, width) if codec == 4 else mixing(source.data, rows, columns, width)
    integers = drawn_integers(kind, seed, stream, a, b, count, width)
    return [d if value == 1 else 1 if value == d else value for value, d in zip(array, integers, strict=True)]


def widened(value: int, element: int) -> int:
    """A bfloat16 or float16 pattern as that of a float32."""
    if element == 1:
        return value << 16
    if value & 0x7C00 == 0x7C00:
        return value >> 15 << 31 | 0x7F800000 | (value & 0x3FF) << 13
    return int.from_bytes(struct.pack("<f", struct.unpack("<e", value.to_bytes(2, "little"))[0]), "little")


def read(path: Path) -> dict[str, tuple[tuple[int, ...], list[int]]]:
    """The shape and the integers of every tensor, complex128 excepted."""
    file = Bytes(path.read_bytes())
    header = json.loads(file.take(int.from_bytes(file.take(8), "little")))
    assert header["__metadata__"]["prunus"] == "1"
    payload = file.data
    table = Bytes(file.take(file.varint()))
    assert crc32(payload[: -len(file.data)]) == int.from_bytes(file.take(4), "little")
    _model = table.texts(1)
    _metadata = [table.texts(2) for _ in range(table.varint())]
    tensors: list[tuple[tuple[int, ...], list[int]]] = []
    names, name = [], b""
    for _ in range(table.varint()):
        shared = table.varint()
        name = name[:shared] + table.take(table.varint())
        element = table.varint()
        shape = tuple(table.varint() for _ in range(table.varint()))
        codec, length, checksum = table.varint(), table.varint(), int.from_bytes(table.take(4), "little")
        data, width, count = file.take(length), WIDTH[element], prod(shape)
        single = len(shape) < 2 or shape[0] == 1
        rows, columns = (count, 1) if single or not count else (shape[0], count // shape[0])
        if not count:
            values = []
        elif codec == 0:
            values = tensors[Bytes(data).varint()][1]
        elif codec == 1:
            values = Bytes(data).integers(count, width)
        elif codec in (2, 3):
            values = relative(data, rows, columns, width, codec == 3)
        elif codec == 4:
            values = ranged(data, count, width)
        elif codec == 5:
            values = mixing(data, rows, columns, width)
        else:
            values = drawn(data, count, rows, columns, width)
        if element in (1, 2) and codec:
            values, width = [widened(value, element) for value in values], 4
        elif element in (1, 2):
            width = 4
        assert crc32(b"".join(value.to_bytes(width, "little") for value in values)) == checksum
        tensors.append((shape, values))
        names.append(name.decode())
    assert not file.data
    return dict(zip(names, tensors, strict=True))
