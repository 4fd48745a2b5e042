"""Deep Compression's storage, read by a decoder written from the specification alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunus.pack import RelativeIndex


class Bits:
    """Bits of a stream, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self.bits = [byte >> i & 1 for byte in data for i in range(8)]
        self.position = 0

    def number(self, width: int) -> int:
        """`width` bits, the lowest first."""
        return sum(self.bit() << i for i in range(width))

    def bit(self) -> int:
        self.position += 1
        return self.bits[self.position - 1]

    def gamma(self) -> int:
        zeros = 0
        while not self.bit():
            zeros += 1
        value = 1
        for _ in range(zeros):
            value = value * 2 + self.bit()
        return value - 1

    def align(self) -> None:
        self.position += -self.position % 8


def varint(data: bytes) -> tuple[int, bytes]:
    value = shift = 0
    while data[0] > 127:
        value, shift, data = value | (data[0] & 127) << shift, shift + 7, data[1:]
    return value | data[0] << shift, data[1:]


def huffman(data: bytes, alphabet: int, count: int) -> list[int]:
    """A Huffman model, as steps between bit lengths of its weights 2**(16 - code length), then its symbols."""
    bits = Bits(data)
    assert bits.gamma() == 0  # no detail below the leading bit
    length, code_lengths = 0, []
    for _ in range(alphabet):
        step = bits.gamma()
        length += (step + 1) // 2 if step % 2 else -(step // 2)
        code_lengths.append(17 - length if length else 99)  # a weight of 2**(16 - l) has 17 - l bits
    bits.align()
    codes, code, before = {}, 0, 0
    for symbol in sorted(range(alphabet), key=lambda s: (code_lengths[s], s)):
        if code_lengths[symbol] < 99:
            code <<= code_lengths[symbol] - before
            codes[code_lengths[symbol], code] = symbol
            before, code = code_lengths[symbol], code + 1
    symbols = []
    while len(symbols) < count:
        code = length = 0
        while (length, code) not in codes:
            code, length = code * 2 + bits.bit(), length + 1
        symbols.append(codes[length, code])
    return symbols


def read(data: bytes, rows: int, columns: int, coded: bool) -> np.ndarray:
    """The matrix of 32-bit integers in a stream of codec 2 (or, `coded`, of codec 3)."""
    flags, data = data[0], data[1:]
    bits, transposed, codebook = flags >> 2, flags >> 1 & 1, flags & 1
    count, data = varint(data)
    used = (count * bits + 7) // 8
    if count and coded:
        used, data = varint(data)
    distinct = 0
    if count and codebook:
        distinct, data = varint(data)
    gaps, data = data[:used], data[used:]
    steps = huffman(gaps, 1 << bits, count) if count and coded else [Bits(gaps).number(0)] and packed(gaps, bits, count)
    if codebook and count:
        levels = [int.from_bytes(data[4 * i : 4 * i + 4], "little") for i in range(distinct)]
        data = data[4 * distinct :]
        width = (distinct - 1).bit_length()
        codes = huffman(data, distinct, count) if coded else packed(data, width, count)
        values = [levels[code] for code in codes]
    else:
        values = [int.from_bytes(data[4 * i : 4 * i + 4], "little") for i in range(count)]
    flat, position = [0] * (rows * columns), -1
    for step, value in zip(steps, values, strict=True):
        position += step + 1
        flat[position] = value
    matrix = np.array(flat, np.uint32)
    return matrix.reshape(columns, rows).T if transposed else matrix.reshape(rows, columns)


def packed(data: bytes, width: int, count: int) -> list[int]:
    bits = Bits(data)
    return [bits.number(width) for _ in range(count)]


@given(
    st.integers(2, 20),
    st.integers(2, 20),
    st.floats(0, 1),
    st.integers(1, 300),
    st.builds(
        RelativeIndex,
        bits=st.one_of(st.none(), st.integers(1, 8)),
        codebook=st.sampled_from([None, False, True]),
        transposed=st.sampled_from([None, False, True]),
        huffman=st.booleans(),
    ),
    st.integers(0, 2**32 - 1),
)
def test_the_specification_reads_it(
    rows: int, columns: int, density: float, levels: int, codec: RelativeIndex, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    palette = rng.integers(1, 2**32, levels, np.uint32)
    matrix = np.where(rng.random((rows, columns)) < density, rng.choice(palette, (rows, columns)), 0)
    data = codec.encode(matrix.astype(np.uint32))
    assert (read(data, rows, columns, codec.huffman) == matrix).all()


@pytest.mark.parametrize(("density", "levels", "bits"), [(0.08, 64, 5), (0.12, 256, 5), (0.25, 31, 3)])
def test_its_size_is_the_published_formula(density: float, levels: int, bits: int) -> None:
    """(nnz + fillers)(b_w + b_idx) bits and 2**b_w codebook entries, and a head of a few bytes."""
    rng = np.random.default_rng(0)
    kept = rng.random((300, 784)) < density
    matrix = np.where(kept, rng.integers(1, levels, kept.shape), 0).astype(np.uint32)
    positions = np.flatnonzero(kept)
    entries = int(np.ceil(np.diff(positions, prepend=-1) / 2**bits).sum())
    value_bits = int(levels - 1).bit_length()
    found = len(RelativeIndex(bits=bits, codebook=True, transposed=False).encode(matrix))
    formula = (entries * (value_bits + bits) + levels * 32) / 8
    assert formula - 5 <= found <= formula + 10
