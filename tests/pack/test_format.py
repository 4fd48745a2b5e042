"""The specification is enough: a reader written from docs/format.md alone, in plain Python, reads the golden files."""

import json
import struct
from bisect import bisect_left, bisect_right
from itertools import accumulate
from math import prod
from pathlib import Path
from zlib import crc32

import pytest

from prunus import pack
from prunus.pack.elements import to_integers

GOLDEN = Path(__file__).parent.parent / "golden"
WIDTH = [4, 2, 2, 2, 2, 8, 1, 1, 1, 2, 4, 8, 2, 4, 8, 8, 8, 1, 1, 1, 1, 1, 4]


class Bytes:
    """Bytes taken from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        taken, self.data = self.data[:count], self.data[count:]
        assert len(taken) == count
        return taken

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.take(1)[0]) > 127:
            value, shift = value | (byte & 127) << shift, shift + 7
        return value | byte << shift

    def integers(self, count: int, width: int) -> list[int]:
        return [int.from_bytes(self.take(width), "little") for _ in range(count)]

    def texts(self, count: int) -> list[str]:
        return [self.take(self.varint()).decode() for _ in range(count)]


class Bits:
    """Bits of bytes, the lowest first."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def bit(self) -> int:
        self.position += 1
        return self.data[(self.position - 1) // 8] >> (self.position - 1) % 8 & 1

    def number(self, width: int) -> int:
        return sum(self.bit() << i for i in range(width))

    def gamma(self) -> int:
        zeros, value = 0, 1
        while not self.bit():
            zeros += 1
        for _ in range(zeros):
            value = 2 * value + self.bit()
        return value - 1


def model(source: Bytes, alphabet: int) -> list[int]:
    """Section 3: frequencies."""
    bits = Bits(source.data)
    detail, *steps = (bits.gamma() for _ in range(alphabet + 1))
    lengths = list(accumulate((s + 1) // 2 if s % 2 else -(s // 2) for s in steps))
    source.take((bits.position + 7) // 8)
    bits, weights = Bits(source.data), []
    for length in lengths:
        below = min(length - 1, detail)
        weights.append(((1 << below) + bits.number(below)) << (length - 1 - below) if length else 0)
    source.take((bits.position + 7) // 8)
    frequencies = [max(1, w * 65536 // sum(weights)) if w else 0 for w in weights]
    while (excess := sum(frequencies) - 65536) > 0:
        largest = frequencies.index(max(frequencies))
        frequencies[largest] -= min(excess, frequencies[largest] // 2)
    frequencies[frequencies.index(max(frequencies))] -= excess
    return frequencies


def huffman(data: bytes, frequencies: list[int], count: int) -> list[int]:
    """Section 3: the frequencies are powers of two."""
    present = [(17 - f.bit_length(), s) for s, f in enumerate(frequencies) if f]
    if len(present) == 1:
        return [present[0][1]] * count
    codes, code, before = {}, 0, 0
    for length, symbol in sorted(present):
        code <<= length - before
        codes[length, code] = symbol
        before, code = length, code + 1
    bits, symbols = Bits(data), []
    for _ in range(count):
        code = length = 0
        while (length, code) not in codes:
            code, length = 2 * code + bits.bit(), length + 1
        symbols.append(codes[length, code])
    return symbols


class Range:
    """Section 4."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 6
        self.code, self.range = int.from_bytes(data[:6].ljust(6, b"\0"), "big"), (1 << 48) - 1

    def interval(self, start: int, span: int) -> None:
        self.code, self.range = self.code - start, span
        while self.range < 1 << 40:
            byte = self.data[self.position] if self.position < len(self.data) else 0
            self.code, self.range, self.position = self.code << 8 | byte, self.range << 8, self.position + 1

    def symbol(self, cumulative: list[int]) -> int:
        part = self.range >> 16
        symbol = bisect_right(cumulative, min(self.code // part, 65535)) - 1
        self.interval(part * cumulative[symbol], part * (cumulative[symbol + 1] - cumulative[symbol]))
        return symbol

    def bit(self, one: int) -> int:
        part = (self.range >> 16) * one
        if self.code < part:
            self.interval(0, part)
            return 1
        self.interval(part, self.range - part)
        return 0

    def number(self, bits: int) -> int:
        part = self.range >> bits
        number = min(self.code // part, (1 << bits) - 1)
        self.interval(part * number, part)
        return number


def range_symbols(source: Bytes, alphabet: int, count: int) -> list[int]:
    if alphabet == 1:
        return [0] * count
    cumulative = [0, *accumulate(model(source, alphabet))]
    coder = Range(source.take(source.varint()))
    return [coder.symbol(cumulative) for _ in range(count)]


# Section 5
POWER, UPPER = 1 << 60, []
for _ in range(2816):
    UPPER.append((1 << 92) // ((1 << 60) + POWER))
    POWER = POWER * 1148426689630428643 >> 60
LOGISTIC = [(1 << 32) - value for value in UPPER[:0:-1]] + UPPER
SQUASH = [min(65535, max(1, value + (1 << 15) >> 16)) for value in LOGISTIC]


def clamp(p: int) -> int:
    return min(65535, max(1, p))


def inverse(p: int) -> int:
    return min(bisect_left(LOGISTIC, p << 16), 5630) - 2815


STRETCH = [inverse(p) if p < 4096 else -inverse(65536 - p) if p > 61440 else inverse(p >> 4 << 4) for p in range(65536)]


class Slot:
    def __init__(self) -> None:
        self.q, self.count = 1 << 21, 0

    def chance(self) -> int:
        return clamp(self.q >> 6)

    def learn(self, bit: int) -> None:
        self.q += ((4194303 if bit else 0) - self.q) * (131072 // (2 * self.count + 3)) >> 16
        self.count = min(self.count + 1, 255)


class Slots(dict[object, Slot]):
    def __missing__(self, key: object) -> Slot:
        self[key] = Slot()
        return self[key]


def mixed_bit(coder: Range, weights: list[int], slots: list[Slot], fixed: list[int], rate: int) -> int:
    inputs = fixed + [STRETCH[slot.chance()] for slot in slots]
    total = sum(w * x for w, x in zip(weights, inputs, strict=True)) >> 16
    p = clamp(SQUASH[max(-2815, min(2815, total)) + 2815])
    bit = coder.bit(p)
    for k, x in enumerate(inputs):
        weights[k] += x * ((bit * 65536 - p) * rate) + (1 << 19) >> 20
    for slot in slots:
        slot.learn(bit)
    return bit


class Walk:
    """A matrix by (i, j) of the walk, and its neighbours."""

    def __init__(self, rows: int, columns: int, transposed: bool, w: int, p: int) -> None:
        self.lines, self.length = (columns, rows) if transposed else (rows, columns)
        self.transposed, self.columns = transposed, columns
        self.strong = self.pairs([(0, 1), (0, w), (1, 0)])
        near = [(0, 1), (0, w), (1, 0), (0, p), (0, w - 1), (0, w + 1), (0, 2), (2, 0)]
        self.near = self.pairs(near)
        self.far = self.pairs([(0, 3), (3, 0), (0, 2 * w), (0, w - 2), (0, w + 2), (0, 2 * w - 1), (0, 2 * w + 1)])
        alike = [(0, 1), (0, w), (0, w - 1), (0, w + 1), (1, 0), (0, 2 * w), (0, 2)]
        weight = dict(zip(reversed(alike), reversed([2, 2, 1, 1, 1 if w else 2, 1, 1]), strict=True))
        self.alike = [(pair, weight[pair[::-1] if transposed else pair]) for pair in self.pairs(alike)]

    def pairs(self, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        kept = dict.fromkeys(pair for pair in pairs if min(pair) >= 0 and pair != (0, 0))
        return [pair[::-1] if self.transposed else pair for pair in kept]

    def at(self, i: int, j: int) -> int:
        return j * self.columns + i if self.transposed else i * self.columns + j

    def entries(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self.lines) for j in range(self.length)]


def places(coder: Range, walk: Walk) -> set[tuple[int, int]]:
    """Section 6."""
    weights = [-19661, 22938, 22938, 13107, 16384]
    patterns, counts, across_kept, along_kept = Slots(), Slots(), [0] * walk.length, [0] * walk.lines
    kept: set[tuple[int, int]] = set()
    for seen, (i, j) in enumerate(walk.entries()):
        overall = clamp((len(kept) * 65536 + 26214) // (seen + 1))
        across = clamp((across_kept[j] * 65536 + 4 * overall) // (i + 4))
        along = clamp((along_kept[i] * 65536 + 4 * overall) // (j + 4))
        near = [(i - a, j - b) in kept for a, b in walk.near]
        strong = sum((i - a, j - b) in kept for a, b in walk.strong)
        far = sum((i - a, j - b) in kept for a, b in walk.far)
        level = max(0, min(15, STRETCH[across] + 1500 >> 7))
        pattern = patterns[sum(bit << n for n, bit in enumerate(near))]
        count = counts[strong * 1024 + min(sum(near) - strong, 7) * 128 + min(far, 7) * 16 + level]
        if not pattern.count:
            pattern.q = overall * 64
        if not count.count:
            count.q = across * 64
        fixed = [STRETCH[overall], STRETCH[across], STRETCH[along]]
        if mixed_bit(coder, weights, [pattern, count], fixed, 8 + 800 // (seen + 32)):
            kept.add((i, j))
            across_kept[j] += 1
            along_kept[i] += 1
    return kept


def levels(coder: Range, walk: Walk, kept: set[tuple[int, int]], k: int) -> dict[tuple[int, int], int]:
    """Section 7."""
    bits, weights, families, coded = (k - 1).bit_length(), [9830] * 7, [Slots() for _ in range(7)], 0
    across, along = [0] * walk.length, [0] * walk.lines
    for i, j in kept:
        across[j] += 1
        along[i] += 1
    found: dict[tuple[int, int], int] = {}
    for i, j in sorted(kept):
        around = [(i + s * a, j + s * b) in kept for a, b in walk.strong for s in (-1, 1)]
        alike = [(found[i - a, j - b], w) for (a, b), w in walk.alike if (i - a, j - b) in kept]
        place = [0, min(sum(around), 15), min(across[j].bit_length(), 15), min(along[i].bit_length(), 15), 0, 0, 0]
        if alike:
            total = sum(w * ((2 * level + 1 - k) * 8 // k) for level, w in alike)
            place[4] = 1 + alike[0][0] * 14 // k
            place[5] = 1 + max(0, min(14, total // sum(w for _, w in alike) + 7))
            place[6] = 1 + max(0, min(14, (total >> 2) + 7))
        node = 1
        for after in range(bits - 1, -1, -1):
            bit = 0
            if ((2 * node + 1) << after) - (1 << bits) < k:
                slots = [family[at, node] for family, at in zip(families, place, strict=True)]
                for slot in slots:
                    if not slot.count:
                        slot.q = slots[0].q
                bit = mixed_bit(coder, weights, slots, [], 14 + 800 // (coded + 32))
                coded += 1
            node = 2 * node + bit
        found[i, j] = node - (1 << bits)
    return found


def steps(coder: Range, count: int) -> list[int]:
    """Section 9."""
    slots, values, value = Slots(), [], 0
    for _ in range(count):
        length = tree(coder, slots, (), 7)
        step = 0
        if length > 32:
            step = (1 << length - 33 | coder.number(length - 33)) << 32 | coder.number(32)
        elif length:
            step = 1 << length - 1 | coder.number(length - 1)
        value = value + step & (1 << 64) - 1
        values.append(value)
    return values


def tree(coder: Range, slots: Slots, place: tuple[int, ...], bits: int) -> int:
    node = 1
    for _ in range(bits):
        slot = slots[place, node]
        bit = coder.bit(slot.chance())
        slot.learn(bit)
        node = 2 * node + bit
    return node - (1 << bits)


def restored(value: int, order: int, width: int) -> int:
    top, everything = 1 << 8 * width - 1, (1 << 8 * width) - 1
    if order == 1:
        return value >> 1 | (value & 1) * top
    if order == 2:
        return value ^ top if value & top else value ^ everything
    return value ^ top if order == 3 else value


def mixing(data: bytes, rows: int, columns: int, width: int) -> list[int]:
    """Codec 5."""
    source = Bytes(data)
    head = source.take(1)[0]
    order, palette, sparse = head & 3, head >> 2 & 1, head >> 3 & 1
    w, p = (source.varint(), source.varint()) if head >> 5 else (0, 0)
    k = source.varint() if palette else source.take(1)[0] + 1
    lowest, modelled = (0, 0) if palette else source.take(2)
    walk, coder = Walk(rows, columns, bool(head >> 4 & 1), w, p), Range(source.data)
    kept = places(coder, walk) if sparse else set(walk.entries())
    values = [restored(value & (1 << 8 * width) - 1, order, width) for value in steps(coder, k)] if palette else []
    found = {walk.at(*where): level for where, level in levels(coder, walk, kept, k).items()}
    out, slots = [0] * (rows * columns), Slots()
    for at, level in sorted(found.items()):
        if palette:
            out[at] = values[level]
            continue
        value = above = (lowest + level) % 256
        for n in range(1, width):
            above = tree(coder, slots, (n, above), 8) if modelled >> n & 1 else coder.number(8)
            value = value << 8 | above
        out[at] = restored(value, order, width)
    return out


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
        else:
            values = mixing(data, rows, columns, width)
        if element in (1, 2) and codec:
            values, width = [widened(value, element) for value in values], 4
        elif element in (1, 2):
            width = 4
        assert crc32(b"".join(value.to_bytes(width, "little") for value in values)) == checksum
        tensors.append((shape, values))
        names.append(name.decode())
    assert not file.data
    return dict(zip(names, tensors, strict=True))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("1-*.prunus")), ids=lambda path: path.stem)
def test_a_reader_from_the_specification_reads_it(path: Path) -> None:
    found = {name: (tuple(t.shape), to_integers(name, t)[2].tolist()) for name, t in pack.read(path).items()}
    assert read(path) == found
