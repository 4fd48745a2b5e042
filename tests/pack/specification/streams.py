"""What the codecs of docs/format.md share: bytes, bits, sections 3 and 4, and the order of values."""

from bisect import bisect_right
from itertools import accumulate


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


def restored(value: int, order: int, width: int) -> int:
    top, everything = 1 << 8 * width - 1, (1 << 8 * width) - 1
    if order == 1:
        return value >> 1 | (value & 1) * top
    if order == 2:
        return value ^ top if value & top else value ^ everything
    return value ^ top if order == 3 else value
