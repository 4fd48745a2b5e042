"""Exact counts and ties, against a stable sort of (score, place) pairs in plain Python."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunus import ranking
from prunus.errors import PrunusError
from prunus.ranking import keep_largest, keep_largest_per_row, ranks

NUMBERS = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(width=32, allow_nan=False),
    st.sampled_from([0.0, -0.0, float("inf"), float("-inf")]),
)


def best(values, count):
    """Oracle: Python's stable sort on the numbers, places in order."""
    return set(sorted(range(len(values)), key=lambda place: -values[place])[:count])


@pytest.mark.parametrize("at_once", [ranking.AT_ONCE, 0], ids=["selection", "bisection"])
@given(st.lists(st.lists(NUMBERS, max_size=12), min_size=1, max_size=4), st.data())
def test_keeps_the_largest_of_several_tensors(at_once, lists, data):
    flat = [value for values in lists for value in values]
    count = data.draw(st.integers(0, len(flat)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "AT_ONCE", at_once)
        kept = keep_largest([torch.tensor(values, dtype=torch.float32) for values in lists], count)
    assert [len(mask) for mask in kept] == [len(values) for values in lists]
    assert set(torch.cat(kept).nonzero().squeeze(1).tolist()) == best(flat, count)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32])
def test_every_number_type(dtype):
    values = [5, -7, 5, 0, 100, -100, 5]
    (kept,) = keep_largest([torch.tensor(values).to(dtype)], 3)
    assert set(kept.nonzero().squeeze(1).tolist()) == {0, 2, 4}


def test_doubles_closer_than_single_precision_are_told_apart():
    values = torch.tensor([1.0, 1.0 + 1e-12, 1.0 + 2e-12], dtype=torch.float64)
    assert keep_largest([values], 1)[0].tolist() == [False, False, True]


def test_non_contiguous_scores_keep_their_places():
    scores = torch.arange(12.0).reshape(3, 4).T
    (kept,) = keep_largest([scores], 2)
    assert kept.nonzero().tolist() == [[2, 2], [3, 2]]


@given(st.lists(st.lists(NUMBERS, min_size=5, max_size=5), min_size=1, max_size=5), st.integers(0, 5))
def test_keeps_the_largest_of_each_row(rows, count):
    kept = keep_largest_per_row(torch.tensor(rows), count)
    for values, mask in zip(rows, kept, strict=True):
        assert set(mask.nonzero().squeeze(1).tolist()) == best(values, count)


def test_ranks_are_a_permutation_in_the_order_of_the_scores():
    assert ranks(torch.tensor([[3.0, 1.0], [2.0, 3.0]])).tolist() == [[3, 0], [1, 2]]


@pytest.mark.parametrize("count", [-1, 5])
def test_impossible_counts_are_refused(count):
    with pytest.raises(PrunusError, match=f"cannot keep {count} of 4"):
        keep_largest([torch.zeros(4)], count)
