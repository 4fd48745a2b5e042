"""Bounds against closed forms, against the best that can be done by hand, and against what is measured."""

import itertools
import math

import pytest
import torch

from prunus.errors import PrunusError
from prunus.subset_sum import bounds, fewest


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(("n", "epsilon"), [(40, 0.2), (60, 0.1), (60, 0.2)])
def test_targets_are_missed_no_more_often_than_the_bound_says(n, epsilon):
    targets = torch.linspace(-0.5, 0.5, 101)
    missed = [not fewest(targets, uniform(n, seed=seed), epsilon).within(epsilon).all() for seed in range(100)]
    bound = bounds.failure(n, epsilon)
    assert 0 < bound < 0.9
    assert sum(missed) / len(missed) <= bound


@pytest.mark.parametrize("n", [4, 6, 9])
def test_a_chance_that_is_known(n):
    """Targets of [-1/2, 1/2] are within 1/2 of 0, of no item at all: never missed, and the bound is Markov's alone."""
    assert bounds.failure(n, 0.5) == pytest.approx(min(1, 0.75**n / 0.5))


def test_failure_falls_with_items_and_epsilon():
    falling = [bounds.failure(n, 0.01) for n in range(0, 300, 10)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == 1
    assert falling[-1] < 1e-8
    assert bounds.failure(80, 0.1) < bounds.failure(80, 0.05) < bounds.failure(80, 0.01)


@pytest.mark.parametrize("epsilon", [0.3, 0.01, 1e-6])
def test_items_needed_are_the_fewest_that_the_bound_allows(epsilon):
    n = bounds.items_needed(epsilon, 0.01)
    assert bounds.failure(n, epsilon) <= 0.01 < bounds.failure(n - 1, epsilon)


def test_items_grow_with_the_logarithm():
    slope = (bounds.items_needed(1e-300, 0.01) - bounds.items_needed(1e-200, 0.01)) / math.log2(1e100)
    assert slope == pytest.approx(4 + 1 / math.log2(4 / 3), rel=0.05)


def test_lueker_by_hand():
    assert bounds.lueker_failure(100, 0.02, 5.0) == pytest.approx(0.02629, rel=1e-3)  # exp(-(50 - 5 ln 100)^2 / 200)
    assert bounds.lueker_failure(40, 0.02, 5.0) == 1.0


@pytest.mark.parametrize(("epsilon", "delta"), [(0.1, 0.1), (0.5, 0.01)])
def test_one_item_of_a_net_is_near_the_end_as_often_as_asked(epsilon, delta):
    n = bounds.net_items(epsilon, delta)
    assert (1 - epsilon / 2) ** n <= delta < (1 - epsilon / 2) ** (n - 1)
    missed = float(((uniform(40000, n) - 1).abs() > epsilon).all(1).double().mean())
    assert missed == pytest.approx((1 - epsilon / 2) ** n, rel=0.15)


def test_pairs_of_a_net_are_near_as_often_as_asked():
    n = bounds.net_pairs(0.5, 0.1)
    pairs = uniform(1000, n, 2)
    near = ((pairs - 1).abs() <= 0.25).all(2).any(1)
    assert float(near.double().mean()) == pytest.approx(0.9, abs=0.04)


def test_widths_by_hand():
    assert bounds.pensia_widths([2, 2], 0.5, 0.9) == [18]  # 3 * 2 * log2(2 * 2 / 0.5)
    assert bounds.pensia_widths([4, 8, 2], 0.5, 0.25, constant=1.0) == [32, 56]  # 4 log2(4 8 2 4), 8 log2(8 2 2 4)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_packing_is_reached_by_a_grid(dimensions):
    """Of the cube [-1, 1]^d, the unit ball of the largest entry: points further apart than 2 epsilon."""
    epsilon = 0.12
    points = math.floor(2 / (2 * epsilon + 1e-9)) + 1
    assert 2 ** bounds.packing_weights(dimensions, epsilon) <= points**dimensions
    assert bounds.packing_weights(dimensions, 0.125) == 2 * dimensions


def test_the_fewest_items_that_cover_an_interval_do():
    """1/8, 2/8 and 4/8 have sums 0, 1/8 .. 7/8: within 1/16 of all of an interval of length 1."""
    assert bounds.items_floor(1.0, 1 / 16) == 3
    targets = torch.linspace(-1 / 16, 15 / 16, 101, dtype=torch.float64)
    assert fewest(targets, torch.tensor([0.125, 0.25, 0.5]), 1 / 16 + 1e-9).success(1 / 16 + 1e-9) == 1.0


def held(targets, intervals, epsilon):
    """The most targets in so many intervals of 2 epsilon, each of which may as well begin at a target."""
    starts = itertools.combinations(targets, min(intervals, len(targets)))
    return max(sum(any(s <= t <= s + 2 * epsilon for s in some) for t in targets) for some in starts)


@pytest.mark.parametrize("seed", range(5))
def test_floor_of_kept_items_is_the_best_placing_of_intervals(seed):
    targets, n, epsilon = uniform(12, seed=seed).double(), 2, 0.04
    missed = [float((targets.abs() > epsilon).sum()), 12 - held(targets.tolist(), 1 + n, epsilon)]
    assert bounds.kept_floor(targets, n, epsilon) == pytest.approx(sum(missed) / 12, abs=1e-4)


@pytest.mark.parametrize("epsilon", [0.1, 0.01, 0.001, 0.0001])
def test_no_items_get_below_the_floor(epsilon):
    targets = torch.randn(2000, generator=torch.Generator().manual_seed(0)) * 0.1
    for seed in range(3):
        found = fewest(targets, uniform(12, seed=seed) / 2, epsilon)
        kept = float(found.counts[found.within(epsilon)].sum()) / len(targets)
        assert 0 < bounds.kept_floor(targets, 12, epsilon, found.success(epsilon)) <= kept + 1e-9


def test_bounds_refuse_what_means_nothing():
    for epsilon in (0.0, -1.0, 1.0, float("nan")):
        with pytest.raises(PrunusError, match=f"epsilon: found {epsilon}, expected"):
            bounds.failure(5, epsilon)
    with pytest.raises(PrunusError, match=r"delta: found 0.0, expected a probability"):
        bounds.items_needed(0.1, 0.0)
