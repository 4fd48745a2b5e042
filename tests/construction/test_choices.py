"""Which random weights stay, against loops and closed forms."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunus.construction import golden_series, nearest_subset, nearest_weight, smallest_subset
from prunus.construction.golden import GOLDEN

seeds = st.integers(0, 10**6)


def drawn(seed, rows=5, n=7):
    generator = torch.Generator().manual_seed(seed)
    numbers = 2 * torch.rand(3, rows, n, generator=generator) - 1
    return numbers[0, :, 0] / 2, numbers[1], numbers[2]


@given(seeds, st.sampled_from([0.3, 0.05, 0.001]))
def test_subsets_of_paths_against_all_of_them(seed, epsilon):
    targets, u, v = drawn(seed, n=6)
    items = (u.double() * v.double()).tolist()
    nearest, smallest = (choose(targets, (u, v), epsilon) for choose in (nearest_subset, smallest_subset))
    for row, target in enumerate(targets.tolist()):
        subsets = [s for size in range(7) for s in itertools.combinations(range(6), size)]
        error = {s: abs(sum(items[row][i] for i in s) - target) for s in subsets}
        best = min(error.values())
        assert error[places(nearest[row])] == pytest.approx(best, abs=1e-15)
        enough = [len(s) for s in subsets if error[s] <= epsilon]
        if enough:
            assert len(places(smallest[row])) == min(enough)
            assert error[places(smallest[row])] <= epsilon
        else:
            assert error[places(smallest[row])] == pytest.approx(best, abs=1e-15)


def places(kept):
    return tuple(kept.nonzero().flatten().tolist())


@given(seeds)
def test_the_nearest_weight(seed):
    targets, items, _ = drawn(seed)
    kept = nearest_weight(targets, (items,), 0.1)
    for row, target in enumerate(targets.tolist()):
        distances = [abs(item - target) for item in items[row].tolist()]
        expected = (distances.index(min(distances)),) if min(distances) < abs(target) else ()
        assert places(kept[row]) == expected


@given(seeds)
def test_the_nearest_pair_is_near_in_both(seed):
    targets, u, v = drawn(seed, n=40)
    kept = nearest_weight(targets, (u, v), 0.1)
    for row, target in enumerate(targets.tolist()):
        ideal = [(target, 1.0), (-target, -1.0)]
        distances = [
            min(max(abs(a - first), abs(b - second)) for first, second in ideal if first * a >= 0)
            for a, b in zip(u[row].tolist(), v[row].tolist(), strict=True)
        ]
        best = distances.index(min(distances))
        helps = abs(float(u[row, best]) * float(v[row, best]) - target) < abs(target)
        assert places(kept[row]) == ((best,) if helps else ())
        if helps:
            assert abs(float(u[row, best]) * float(v[row, best]) - target) <= min(distances) * (1 + abs(target))


@given(seeds, st.floats(-1, 1, width=32), st.integers(1, 18))
def test_every_full_bucket_leaves_the_golden_ratio_of_what_was_left(seed, target, buckets):
    """One item of either sign in each of (g^(k+1), g^k], from k = 1: after m of them no more than g^m is left."""
    within = torch.rand(2, buckets, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    powers = GOLDEN ** torch.arange(1, buckets + 1, dtype=torch.float64)
    items = (powers * (GOLDEN + (1 - GOLDEN) * within)).float() * torch.tensor([[1], [-1]])
    order = torch.randperm(2 * buckets, generator=torch.Generator().manual_seed(seed))
    items = items.flatten()[order]
    for count in range(1, buckets + 1):
        large = torch.where(items.abs() > GOLDEN ** (count + 1) * (1 - 1e-6), items, 0)
        kept = golden_series(torch.tensor([target]), (large[None],), 0.0)[0]
        left = abs(target) - float(large[kept].double().abs().sum())
        assert 0 <= left <= GOLDEN**count * (1 + 1e-5)
        assert (large[kept] * target > 0).all()


def test_a_golden_series_ends_when_it_is_near_enough():
    items = torch.tensor([[0.5, -0.4, 0.25, 0.125, 0.03]])
    assert places(golden_series(torch.tensor([0.8]), (items,), 0.04)[0]) == (0, 2, 4)  # 0.05 were left before the last
    assert places(golden_series(torch.tensor([0.8]), (items,), 0.06)[0]) == (0, 2)
    assert places(golden_series(torch.tensor([-0.4]), (items,), 0.06)[0]) == (1,)
    assert places(golden_series(torch.tensor([0.03]), (items,), 0.04)[0]) == ()


def test_zero_is_no_item_and_takes_none():
    zeros = torch.zeros(1, 4)
    for choose in (nearest_subset, smallest_subset, nearest_weight, golden_series):
        assert not choose(torch.tensor([0.3]), (zeros,), 0.1).any()
        assert not choose(torch.tensor([0.0]), (torch.tensor([[0.5, -0.5, 0.25, 0.1]]),), 0.1).any()


def test_the_golden_ratio():
    assert pytest.approx(GOLDEN) == 1 - GOLDEN**2
    assert math.isclose(GOLDEN, 0.6180339887498949)
