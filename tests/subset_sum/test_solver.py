"""Subsets against all subsets there are, and what has to stay the same when the rest changes."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunus.errors import PrunusError
from prunus.subset_sum import Drawn, closest, fewest, solver

from .oracle import check

NUMBERS = st.one_of(
    st.integers(-4, 4).map(float),
    st.sampled_from([0.1, -0.1, 0.25, 1e-30, -1e30, 3e38, 1e-45, -0.0]),
    st.floats(-1, 1, width=32),
)
EPSILONS = st.sampled_from([0.0, 1e-6, 0.01, 0.3, 2.0])


def random(count, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=generator), torch.rand(count, n, generator=generator) * 2 - 1


@st.composite
def problems(draw, most):
    items = draw(st.lists(NUMBERS, min_size=1, max_size=most))
    part = [item for item in items if draw(st.booleans())]
    target = draw(st.one_of(NUMBERS, st.just(sum(part)), st.sampled_from([1e300, -1e300, 1e-300])))
    return torch.tensor([target, -target], dtype=torch.float64), torch.tensor(items, dtype=torch.float32)


@settings(deadline=None)
@given(problems(9), EPSILONS, st.integers(0, 5))
def test_any_numbers(problem, epsilon, at_most):
    targets, items = problem
    check(closest(targets, items), targets, items)
    check(closest(targets, items, at_most=at_most), targets, items, at_most=at_most)
    check(fewest(targets, items, epsilon), targets, items, epsilon=epsilon)


@settings(deadline=None)
@given(problems(6), EPSILONS, st.integers(0, 4))
def test_any_numbers_added_or_subtracted(problem, epsilon, at_most):
    targets, items = problem
    check(closest(targets, items, signed=True), targets, items, signed=True)
    check(closest(targets, items, at_most=at_most, signed=True), targets, items, at_most=at_most, signed=True)
    check(fewest(targets, items, epsilon, signed=True), targets, items, epsilon=epsilon, signed=True)


@pytest.mark.parametrize("epsilon", [0.1, 1e-2, 1e-3, 1e-4, 1e-5])
def test_smallest_subsets_of_sixteen_items(epsilon):
    """Of every size from 0 to 8 or so, and none within epsilon."""
    targets, items = random(20, 16)
    found = fewest(targets, items, epsilon)
    check(found, targets, items, epsilon=epsilon)
    assert len(found.counts.unique()) > 2


@pytest.mark.parametrize("epsilon", [0.05, 1e-3, 1e-4])
def test_sorted_lists_and_buckets_say_the_same(monkeypatch, epsilon):
    targets, items = random(60, 14)
    by_buckets = closest(targets, items), fewest(targets, items, epsilon)
    monkeypatch.setattr(solver.buckets, "meet", lambda *arguments: arguments[-1].fill(-1.0))
    by_lists = closest(targets, items), fewest(targets, items, epsilon)
    within = by_lists[1].within(epsilon)
    assert by_buckets[1].counts[within].tolist() == by_lists[1].counts[within].tolist()
    for one, other in zip(by_buckets, by_lists, strict=True):
        torch.testing.assert_close(one.errors, other.errors, rtol=0, atol=1e-14)


def test_many_items_are_found_few_at_first():
    """28 items, powers of 4: sums of five and six come from lists of small subsets, one of nine from those of all."""
    items = 4.0 ** torch.arange(15).repeat(2)[:28]
    targets = torch.stack([items[:5].sum(), items[3:9].sum(), items[:9].sum()])
    assert fewest(targets, items, 0.5).counts.tolist() == [5, 6, 9]
    assert closest(targets, items).errors.tolist() == [0, 0, 0]


def test_crowded_sums_are_left_to_the_sorted_lists():
    """Equal items: 20 sums take five values, so buckets hold hundreds."""
    items = torch.full((20,), 0.25)
    targets = torch.tensor([0.6, 2.5, 9.0, -1.0])
    found = closest(targets, items)
    assert found.errors.tolist() == pytest.approx([0.1, 0, 4, 1], abs=1e-7)
    assert fewest(targets, items, 0.2).counts.tolist() == [2, 10, 20, 0]


def test_no_item_more_makes_it_worse():
    targets, items = random(200, 18)
    errors = [closest(targets, items[:, :n].contiguous()).errors for n in range(1, 19)]
    assert all(bool((more <= less + 1e-12).all()) for less, more in pairwise(errors))
    capped = [closest(targets, items, at_most=k).errors for k in range(8)]
    assert all(bool((more <= less).all()) for less, more in pairwise(capped))
    assert bool((closest(targets, items, signed=False).errors >= closest(targets, items, signed=True).errors).all())


def test_shared_items_are_those_of_every_target():
    targets, items = random(50, 12)
    for one, other in (
        (closest(targets, items[0]), closest(targets, items[:1].expand(50, 12))),
        (fewest(targets, items[0], 0.01), fewest(targets, items[:1].expand(50, 12), 0.01)),
    ):
        assert torch.equal(one.used, other.used)
        assert torch.equal(one.errors, other.errors)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_neither_threads_nor_stretches_change_anything(threads, monkeypatch):
    targets = torch.randn(1000, generator=torch.Generator().manual_seed(1)) * 0.3
    drawn = Drawn(13, -0.5, 0.7, seed=3, stream=2)
    results = []
    for count, rows, items in ((1, 4096, drawn), (2, 4096, drawn), (2, 37, drawn), (2, 100, drawn.rows(0, 1000))):
        threads(count)
        monkeypatch.setattr(solver, "ROWS", rows)
        results += [(closest(targets, items), fewest(targets, items, 0.01))]
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            assert torch.equal(one.used, same.used)
            assert torch.equal(one.errors, same.errors)
    assert len(results[0][1].counts.unique()) > 3


def test_sixty_two_items_fit_where_few_are_enough():
    targets, items = random(20, 62)
    found = fewest(targets, items, 1e-4)
    assert found.kept.shape == (20, 62)
    assert found.success(1e-4) == 1.0
    assert int(found.used.min()) >= 0
    sums = (found.kept.double() * items.double()).sum(1)
    torch.testing.assert_close((sums - targets.double()).abs(), found.errors, rtol=0, atol=1e-12)


def test_success_is_a_share():
    targets = torch.tensor([0.0, 0.5, 0.6, 10.0])
    found = fewest(targets, torch.tensor([0.5]), 0.05)
    assert found.within(0.05).tolist() == [True, True, False, False]
    assert found.success(0.05) == 0.5
    assert found.errors.tolist() == pytest.approx([0, 0, 0.1, 9.5], abs=1e-7)


def test_no_targets():
    found = closest(torch.empty(0), torch.empty(0, 5))
    assert found.kept.shape == (0, 5)
    assert len(found.errors) == len(found.counts) == 0


@pytest.mark.parametrize(
    ("targets", "items", "message"),
    [
        (torch.ones(2, 2), torch.ones(3), r"targets: found shape \(2, 2\), expected \(B,\)"),
        (torch.ones(2), torch.ones(3, 4), r"items: found shape \(3, 4\), expected \(2, n\)"),
        (torch.ones(2), torch.tensor(1.0), r"items: found shape \(\)"),
        (torch.ones(2), torch.ones(2, 0), "items: found 0 for a target, expected 1 to 62"),
        (torch.ones(2), torch.ones(63), "items: found 63 for a target"),
        (torch.ones(2), Drawn(0, 0.0, 1.0, 0), "items: found 0 for a target"),
        (torch.tensor([1.0, np.nan]), torch.ones(3), "targets: found nan for target 1, expected finite numbers"),
        (torch.ones(2), torch.tensor([[1.0], [-np.inf]]), "items: found -inf for target 1, expected finite numbers"),
        (torch.ones(2), torch.tensor([1.0, np.nan]), "items: found nan for target 0, expected finite numbers"),
    ],
)
def test_what_cannot_be_used_is_refused(targets, items, message):
    with pytest.raises(PrunusError, match=message):
        closest(targets, items)
    with pytest.raises(PrunusError, match=message):
        fewest(targets, items, 0.01)


def test_limits_are_refused_in_a_sentence():
    targets, items = random(2, 60)
    with pytest.raises(PrunusError, match=r"half of 60 items has 1,073,741,824 sums"):
        closest(targets, items)
    assert closest(targets, items, at_most=3).errors.max() < 0.01
    with pytest.raises(PrunusError, match="half of 60 items"):
        fewest(torch.tensor([100.0, 0.0]), items, 0.0)
    with pytest.raises(PrunusError, match="epsilon: found -1, expected"):
        fewest(targets, items, -1)
    with pytest.raises(PrunusError, match="epsilon: found nan, expected"):
        fewest(targets, items, float("nan"))
    with pytest.raises(PrunusError, match="at_most: found -1"):
        closest(targets, items, at_most=-1)
