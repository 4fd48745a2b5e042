import heapq
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunus.code import huffman
from prunus.code.histogram import Histogram
from prunus.errors import FormatError

LIMIT = 16


def cost_by_merging(weights: list[int]) -> int:
    """The cost of the best prefix code is the sum of all weights that Huffman's merging makes."""
    heap = [w for w in weights if w]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def cost_level_by_level(weights: list[int]) -> int:
    """The best cost with no code above LIMIT: give each level of the tree some of the heaviest symbols left."""
    heaviest = sorted((w for w in weights if w), reverse=True)

    @cache
    def best(level: int, given_out: int, nodes: int) -> float:
        left = len(heaviest) - given_out
        if left == 0:
            return 0
        if nodes == 0 or level > LIMIT:
            return float("inf")
        nodes = min(nodes, left)
        return min(
            level * sum(heaviest[given_out : given_out + leaves])
            + best(level + 1, given_out + leaves, 2 * (nodes - leaves))
            for leaves in range(nodes + 1)
        )

    return int(best(1, 0, 2))


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=80).filter(lambda w: sum(map(bool, w)) > 1))
def test_no_prefix_code_is_cheaper(weights: list[int]) -> None:
    lengths = huffman.code_lengths(np.array(weights))
    assert int(lengths @ np.array(weights)) == cost_by_merging(weights)
    assert sum(2.0**-length for length in lengths if length) == 1
    assert ((lengths > 0) == (np.array(weights) > 0)).all()


@given(st.integers(18, 26), st.integers(0, 5))
def test_no_prefix_code_within_the_limit_is_cheaper(count: int, offset: int) -> None:
    weights = [1, 1]
    while len(weights) < count:
        weights.append(weights[-1] + weights[-2] + offset)  # these make a Huffman tree as deep as can be
    lengths = huffman.code_lengths(np.array(weights))
    assert lengths.max() == LIMIT
    assert int(lengths @ np.array(weights)) == cost_level_by_level(weights)


def test_codes_are_canonical() -> None:
    symbols = np.array([0, 1, 2, 3], np.uint8)
    model = Histogram.of(np.array([1, 4, 1, 2]), detail=5)
    # lengths 3, 1, 3, 2: codes 110, 0, 111, 10, first bit lowest
    text = "110" + "0" + "111" + "10"
    expected = int(text[::-1], 2).to_bytes(2, "little")
    assert huffman.encode(symbols, model) == expected


@given(st.lists(st.integers(0, 40), min_size=1, max_size=300))
def test_round_trip(symbols: list[int]) -> None:
    array = np.array(symbols, np.uint8)
    model = huffman.fit(array, 41)
    data = huffman.encode(array, model)
    assert (huffman.decode(data, model, array.size) == array).all()
    stored, _ = Histogram.from_bytes(model.to_bytes(), 41)
    assert (huffman.decode(data, stored, array.size) == array).all()
    bits = int(huffman.code_lengths(np.bincount(array, minlength=41))[array].sum())
    assert len(data) == (bits + 7) // 8


def test_data_that_ends_too_early_or_too_late_is_refused() -> None:
    array = np.arange(40, dtype=np.uint8)
    model = huffman.fit(array, 40)
    data = huffman.encode(array, model)
    for altered in (data[:-1], data + b"\0", b""):
        with pytest.raises(FormatError, match="Huffman"):
            huffman.decode(altered, model, array.size)


def test_sixty_five_thousand_symbols_of_equal_weight_take_sixteen_bits() -> None:
    assert (huffman.code_lengths(np.ones(1 << 16, np.int64)) == 16).all()
