import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunus.code.gaps import from_gaps, stored_bits, to_gaps
from prunus.errors import FormatError

arrays = st.lists(st.one_of(st.just(0), st.just(0), st.integers(0, 255)), max_size=600)


@given(arrays, st.integers(1, 8))
def test_a_decoder_from_the_paper_reads_it(values: list[int], bits: int) -> None:
    gaps, stored = to_gaps(np.array(values, np.uint8), bits)
    decoded, position = [0] * len(values), -1
    for gap, value in zip(gaps.tolist(), stored.tolist(), strict=True):
        assert gap < 1 << bits
        position += gap + 1
        decoded[position] = value
    assert decoded == values
    out = np.zeros((len(values), 1), np.uint8)
    assert from_gaps(gaps, stored, out) == position + 1
    assert out[:, 0].tolist() == values
    assert stored_bits(np.array(values, np.uint8), bits, 7) == len(gaps) * (bits + 7)


@given(arrays, st.integers(1, 8))
def test_no_filler_is_put_where_the_gap_fits(values: list[int], bits: int) -> None:
    gaps, stored = to_gaps(np.array(values, np.uint8), bits)
    assert all(gap == (1 << bits) - 1 for gap in gaps[stored == 0])
    places = [i for i, value in enumerate(values) if value]
    distances = [b - a for a, b in zip([-1, *places], places, strict=False)]
    assert int((stored == 0).sum()) == sum((distance - 1) // (1 << bits) for distance in distances)


@pytest.mark.parametrize("density", [0.02, 0.08, 0.3])
def test_fillers_at_random_places_are_as_many_as_the_geometric_law_says(density: float) -> None:
    values = (np.random.default_rng(0).random(1_000_000) < density).astype(np.uint8)
    _, stored = to_gaps(values, 5)
    beyond = (1 - density) ** 32  # the chance that a gap does not fit in 5 bits
    expected = values.sum() * beyond / (1 - beyond)
    assert (stored == 0).sum() == pytest.approx(expected, rel=0.05, abs=30)


def test_gaps_past_the_end_are_refused() -> None:
    with pytest.raises(FormatError, match="past the end of a tensor of 4 entries"):
        from_gaps(np.array([3, 0], np.uint8), np.array([1, 1], np.uint8), np.zeros((2, 2), np.uint8))


def test_a_transposed_matrix_is_filled_column_by_column() -> None:
    out = np.zeros((2, 3), np.uint8)
    from_gaps(np.array([1, 1], np.uint8), np.array([7, 8], np.uint8), out.T)
    assert out.tolist() == [[0, 0, 0], [7, 8, 0]]
