import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunus.code import arithmetic, decode, encode, huffman
from prunus.code.histogram import Histogram, entropy
from prunus.errors import FormatError


@given(st.lists(st.integers(0, 300), min_size=1, max_size=400))
def test_round_trip_in_any_shape(symbols: list[int]) -> None:
    array = np.array([symbols, symbols], np.uint16)
    model = Histogram.fit(array, 301)
    data = encode(array, model, arithmetic)
    assert (decode(data, model, arithmetic, array.shape) == array).all()
    assert len(data) <= model.cost(array) / 8 + 1


@pytest.mark.parametrize("chance", [0.5, 0.1, 0.001])
def test_within_a_byte_and_a_ten_thousandth_of_the_entropy(chance: float) -> None:
    symbols = (np.random.default_rng(1).random(200_000) < chance).astype(np.uint8)
    model = Histogram.of(np.bincount(symbols), detail=15)
    bound = entropy(np.bincount(symbols)) / 8
    assert bound <= len(arithmetic.encode(symbols, model)) <= 1.0001 * bound + 1


def test_beats_huffman_where_a_bit_is_too_much() -> None:
    symbols = (np.random.default_rng(2).random(10_000) < 0.02).astype(np.uint8)
    model = Histogram.fit(symbols, 2)
    assert len(arithmetic.encode(symbols, model)) < 0.2 * len(huffman.encode(symbols, model))


@pytest.mark.parametrize("seed", range(5))
def test_carries_run_through_long_rows_of_ones(seed: int) -> None:
    """A range that stays just below a carry writes bytes of 255, until a carry turns all of them over."""
    rng = np.random.default_rng(seed)
    state, buffer = coder = arithmetic.writer(400)
    arithmetic.narrow(state, buffer, arithmetic.TOP - 2**30, 2**29)
    for _ in range(100):
        arithmetic.code_number(state, buffer, 255, 8)
    bits = rng.integers(0, 2, 50).tolist()
    for bit in bits:
        arithmetic.code_bit(state, buffer, bit, 65535 if seed % 2 else 20)
    data = arithmetic.finish(coder)
    assert data is not None
    value = int.from_bytes(data, "big") << 8 * (500 - len(data))
    assert value >> 8 * 500 == 0
    state, buffer = coder = arithmetic.reader(data)
    arithmetic.narrow(state, buffer, arithmetic.TOP - 2**30, 2**29)
    assert [arithmetic.code_number(state, buffer, 0, 8) for _ in range(100)] == [255] * 100
    assert [arithmetic.code_bit(state, buffer, 0, 65535 if seed % 2 else 20) for _ in bits] == bits
    arithmetic.check_end(coder)


def test_exact_intervals() -> None:
    """The number that is written lies in the interval that exact fractions give."""
    rng = np.random.default_rng(3)
    bits, chances = rng.integers(0, 2, 300).tolist(), rng.integers(1, 65536, 300).tolist()
    coder = arithmetic.writer(1000)
    low, span, scale = 0, arithmetic.TOP - 1, 48
    for bit, one in zip(bits, chances, strict=True):
        arithmetic.code_bit(*coder, bit, one)
        part = (span >> 16) * one
        low, span = (low, part) if bit else (low + part, span - part)
        while span < arithmetic.BOTTOM:
            low, span, scale = low << 8, span << 8, scale + 8
    data = arithmetic.finish(coder)
    assert data is not None
    assert low <= int.from_bytes(data, "big") << (scale - 8 * len(data)) < low + span


def test_data_that_ends_too_early_or_too_late_is_refused() -> None:
    symbols = np.random.default_rng(4).integers(0, 200, 1000).astype(np.uint8)
    model = Histogram.fit(symbols, 200)
    data = arithmetic.encode(symbols, model)
    for altered in (data[:-8], data + b"12345678"):
        with pytest.raises(FormatError, match="range-coded"):
            arithmetic.decode(altered, model, symbols.size)
