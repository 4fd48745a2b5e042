"""Deep Compression's storage: relative indices, then values as they are or as codes into a codebook."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from prunus.code import gaps, huffman
from prunus.code.bits import Bytes, Unsigned, pack, unpack, width
from prunus.code.histogram import Histogram, entropy
from prunus.errors import FormatError
from prunus.pack.codec import palette
from prunus.pack.codec.matrix import as_matrix
from prunus.pack.syntax import Source, varint

WIDTHS = range(2, 9)
CHUNK = 1 << 16  # a multiple of 8: chunks of packed integers begin at whole bytes


@dataclass(frozen=True)
class RelativeIndex:
    """Gaps of `bits` bits (1 to 8; None: the best of 2 to 8) with filler zeros, and a value for each.

    `codebook`: values are codes into the list of different values (at most 2**16); None: where it is smaller.
    `transposed`: scan the first axis fastest; None: whichever is smaller.
    `huffman`: the gaps, and the codes where there is a codebook, are Huffman coded, each in its own code.
    Source: Han, Mao, Dally, Deep Compression (ICLR 2016), sections 2 to 4.
    """

    bits: int | None = None
    codebook: bool | None = None
    transposed: bool | None = None
    huffman: bool = False

    @property
    def id(self) -> int:
        """The codec's number in the file."""
        return 3 if self.huffman else 2

    @property
    def name(self) -> str:
        """The codec's name in reports."""
        return "relative-index+huffman" if self.huffman else "relative-index"

    def encode(self, array: Unsigned) -> bytes:
        """The smallest stream among the settings left open."""
        matrix = as_matrix(array)
        turns = [bool(self.transposed)] if self.transposed is not None or 1 in matrix.shape else [False, True]
        books = [False, True] if self.codebook is None else [self.codebook]
        found = palette.find(matrix.reshape(-1), most=1 << 16) if any(books) else None
        streams = []
        for transposed in turns:
            flat = (matrix.T if transposed else matrix).reshape(-1)
            for codebook in books if found else [False]:
                value_bits = width(found[0].size - 1) if found and codebook else 8 * flat.itemsize
                bits = self.bits or min(WIDTHS, key=lambda bits: self._size(flat, bits, value_bits))
                streams.append(self._stream(flat, transposed, codebook, bits))
        return min(streams, key=len)

    def _size(self, flat: Unsigned, bits: int, value_bits: int) -> float:
        """Bits that gaps of this width and their values will take; with Huffman, about so many."""
        if not self.huffman:
            return gaps.stored_bits(flat, bits, value_bits)
        steps, _ = gaps.to_gaps(flat, bits)
        fillers = steps.size - np.count_nonzero(flat)
        return entropy(np.bincount(steps, minlength=1)) + entropy(np.array([fillers, steps.size - fillers]))

    def _stream(self, flat: Unsigned, transposed: bool, codebook: bool, bits: int) -> bytes:
        steps, stored = gaps.to_gaps(flat, bits)
        head = bytes([bits << 2 | transposed << 1 | codebook]) + varint(steps.size)
        if not steps.size:
            return head
        positions = self._symbols(steps, 1 << bits)
        if self.huffman:
            head += varint(len(positions))
        if not codebook:
            return head + positions + stored.tobytes()
        found = palette.find(stored, most=1 << 16)
        assert found is not None, "the stored values are among those of the array"
        levels, codes = found
        return head + varint(levels.size) + positions + levels.tobytes() + self._symbols(codes, levels.size)

    def _symbols(self, symbols: Unsigned, alphabet: int) -> bytes:
        if not self.huffman:
            return pack(symbols, width(alphabet - 1))
        model = huffman.fit(symbols, alphabet)
        return model.to_bytes() + huffman.encode(symbols, model)

    def decode(self, data: Bytes, shape: tuple[int, ...], dtype: np.dtype[np.unsignedinteger]) -> Unsigned:
        """The array in `data`."""
        source, total = Source(data, "its stream"), prod(shape)
        flags, count = source.take(1)[0], source.varint()
        bits, transposed, codebook = flags >> 2, flags >> 1 & 1, flags & 1
        if not 1 <= bits <= 8 or count > total:
            raise FormatError(f"{count} relative indices of {bits} bits for {total} entries.")
        out = np.zeros(shape, dtype)
        if not count:
            source.end()
            return out
        used = source.varint() if self.huffman else (count * bits + 7) // 8
        distinct = source.varint() if codebook else 0
        if codebook and not 1 <= distinct <= min(count, 1 << 16):
            raise FormatError(f"a codebook of {distinct} values for {count} entries.")
        steps = self._read_symbols(source.take(used), 1 << bits, count)
        if codebook:
            levels = np.frombuffer(source.take(distinct * dtype.itemsize), dtype)
            codes = self._read_symbols(source.rest(), distinct, count)
            if codes.max() >= distinct:
                raise FormatError(f"a code beyond the {distinct} values of its codebook.")
        else:
            values = np.frombuffer(source.take(count * dtype.itemsize), dtype)
            source.end()
        matrix = as_matrix(out).T if transposed else as_matrix(out)
        position = 0
        for start in range(0, count, CHUNK):
            part = slice(start, start + CHUNK)
            stored = levels[codes[part]] if codebook else values[part].copy()
            position = gaps.from_gaps(steps[part], stored, matrix, position)
        return out

    def _read_symbols(self, data: Bytes, alphabet: int, count: int) -> Unsigned:
        if not self.huffman:
            return unpack(data, width(alphabet - 1), count, np.uint8 if alphabet <= 256 else np.uint16)
        model, used = Histogram.from_bytes(data, alphabet)
        return huffman.decode(data[used:], model, count)
