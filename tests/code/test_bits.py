import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunus.code.bits import pack, pack_gamma, unpack, unpack_gamma, width
from prunus.errors import FormatError

numbers = st.integers(0, 2**40)


@given(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 2**64 - 1))))
def test_pack_writes_the_low_bits_lowest_first(pairs: list[tuple[int, int]]) -> None:
    widths = np.array([w for w, _ in pairs], np.uint8)
    values = np.array([v & ((1 << w) - 1) for w, v in pairs], np.uint64)
    text = "".join(f"{int(v):0{w}b}"[::-1] if w else "" for w, v in zip(widths.tolist(), values, strict=True))
    text += "0" * (-len(text) % 8)
    expected = bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))
    assert pack(values, widths) == expected
    assert (unpack(expected, widths, len(pairs), np.uint64) == values).all()


@pytest.mark.parametrize("bits", [0, 1, 5, 8, 13])
def test_one_width_for_all_equals_that_width_for_each(bits: int) -> None:
    values = np.arange(50, dtype=np.uint16) & ((1 << bits) - 1)
    data = pack(values, bits)
    assert data == pack(values, np.full(50, bits, np.uint8))
    assert (unpack(data, bits, 50, np.uint16) == values).all()


@given(st.lists(numbers))
def test_gamma_is_as_elias_wrote_it(values: list[int]) -> None:
    text = "".join("0" * (len(f"{v + 1:b}") - 1) + f"{v + 1:b}" for v in values)
    text += "0" * (-len(text) % 8)
    expected = bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))
    data = pack_gamma(np.array(values, np.int64))
    assert data == expected
    decoded, used = unpack_gamma(data + b"more", len(values))
    assert decoded.tolist() == values
    assert used == len(data)


def test_wrong_lengths_are_refused() -> None:
    with pytest.raises(FormatError, match="3 integers in 15 bits do not take 3 bytes"):
        unpack(b"abc", 5, 3, np.uint8)
    with pytest.raises(FormatError, match="run past the end"):
        unpack_gamma(b"\0\0", 1)
    with pytest.raises(FormatError, match="cannot fit"):
        unpack_gamma(b"\xff", 9)


@given(numbers)
def test_width_is_just_enough(largest: int) -> None:
    assert largest < 1 << width(largest)
    assert largest == 0 or largest >= 1 << width(largest) - 1
