"""The columns of Deep Compression's Tables 2 to 5: by the paper's formula, and as measured on a real tensor.

Source: Han, Mao & Dally 2016, section 2, equation 1 and Tables 2-5. Sizes that prunus reports elsewhere are bytes on
disk; this is the paper's own accounting, which counts no biases, code tables or headers.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from prunus.code import huffman
from prunus.code.bits import Unsigned
from prunus.code.gaps import to_gaps


def expected_fillers(kept: float, density: float, index_bits: int) -> float:
    """Filler zeros that `kept` weights at random places need on average, with gaps of `index_bits` bits.

    A gap of b bits spans 2^b entries; every run of that many zeros costs a filler. Where an entry is zero with
    probability 1 - d, that is kept * q / (1 - q) with q = (1 - d)^(2^b).
    """
    run: float = (1 - density) ** (2**index_bits)
    return kept * run / (1 - run)


def published_rate(
    count: int, density: float, weight_bits: float, index_bits: float, *, levels: int, index_field: int
) -> float:
    """Compressed / dense size of a tensor of `count` weights by the paper's formula.

    ((kept + fillers) (weight bits + index bits) + 32 levels) / (32 count): fields of fixed width, or their averages
    after Huffman coding; `index_field` is the width that the gaps had before it, which the fillers follow from.
    """
    kept = density * count
    entries = kept + expected_fillers(kept, density, index_field)
    return (entries * (weight_bits + index_bits) + 32 * levels) / (32 * count)


@dataclass(frozen=True)
class Row:
    """One tensor's line: densities and rates as fractions, bits per stored entry (kept or filler)."""

    count: int
    density: float
    weight_bits: int
    weight_bits_huffman: float
    index_bits: int
    index_bits_huffman: float
    rate: float
    rate_huffman: float


def measured_row(tensor: Tensor, index_bits: int) -> Row:
    """The line of Tables 2-5 for a pruned tensor whose kept entries share values, gaps in `index_bits` bits."""
    flat = tensor.detach().cpu().reshape(-1)
    values, codes = np.unique(flat.numpy(), return_inverse=True)
    zero = int(np.searchsorted(values, 0.0))
    symbols = np.where(codes == zero, 0, np.where(codes < zero, codes + 1, codes)).astype(np.uint16)  # 0: pruned
    gaps, stored = to_gaps(symbols, index_bits)
    levels = values.size - 1
    weight_bits = max(1, (levels - 1).bit_length())
    weight_huffman, index_huffman = _huffman_bits(stored), _huffman_bits(gaps)
    codebook = 32 * 2**weight_bits
    dense = 32 * flat.numel()
    return Row(
        count=flat.numel(),
        density=int(np.count_nonzero(symbols)) / flat.numel(),
        weight_bits=weight_bits,
        weight_bits_huffman=weight_huffman,
        index_bits=index_bits,
        index_bits_huffman=index_huffman,
        rate=(gaps.size * (weight_bits + index_bits) + codebook) / dense,
        rate_huffman=(gaps.size * (weight_huffman + index_huffman) + codebook) / dense,
    )


def _huffman_bits(symbols: Unsigned) -> float:
    """Mean length of a symbol in its own Huffman code."""
    counts = np.bincount(symbols)
    lengths = huffman.code_lengths(counts.astype(np.int64))
    return float((counts * lengths).sum() / counts.sum())
