"""k-means against an exact dynamic programme, and laws of Lloyd's algorithm."""

from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunus.codebook import Codebook
from prunus.errors import PrunusError
from prunus.quantise import at_random, density, k_means, linear, nearest, share


def cost(values, centroids):
    return float((values[:, None] - centroids[None, :]).square().min(1).values.sum())


def best_cost(values, levels):
    """Oracle: the least within-cluster sum of squares of sorted numbers, by dynamic programming."""
    ordered = sorted(values.tolist())

    def spread(a, b):
        part = ordered[a:b]
        mean = sum(part) / len(part)
        return sum((v - mean) ** 2 for v in part)

    @cache
    def least(end, k):
        if k == 1:
            return spread(0, end)
        return min(least(cut, k - 1) + spread(cut, end) for cut in range(k - 1, end))

    return least(len(ordered), levels)


def normal(count, seed=0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_reaches_the_best_clustering_from_some_start(levels):
    values = normal(40)
    starts = [linear, density, *(at_random(torch.Generator().manual_seed(seed)) for seed in range(30))]
    found = min(cost(values, k_means(values, start(values, levels))) for start in starts)
    assert found == pytest.approx(best_cost(values, levels), rel=1e-9)


@pytest.mark.parametrize("start", [linear, density, at_random(torch.Generator().manual_seed(0))])
def test_ends_at_a_fixed_point_no_worse_than_its_start(start):
    values = normal(2_000)
    begin = start(values, 16)
    centroids = k_means(values, begin)
    assert cost(values, centroids) <= cost(values, begin)
    assert (centroids.diff() > 0).all()
    chosen = nearest(values, centroids)
    for k in range(16):
        assert centroids[k].item() == pytest.approx(values[chosen == k].mean().item(), abs=1e-12)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.integers(1, 8))
def test_nearest_is_nearest(numbers, levels):
    values = torch.tensor(numbers, dtype=torch.float64)
    centroids = torch.linspace(-50, 50, levels, dtype=torch.float64)
    distance = (values[:, None] - centroids[None, :]).abs()
    assert torch.equal(distance.gather(1, nearest(values, centroids)[:, None])[:, 0], distance.min(1).values)


def test_linear_start_spans_the_range_evenly():
    assert linear(torch.tensor([4.0, -1.0, 0.0]), 6).tolist() == [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]


def test_density_start_puts_as_many_values_between_each_two():
    values = torch.arange(1000, dtype=torch.float64) ** 3
    starts = density(values, 10)
    between = torch.searchsorted(values, starts)
    assert between.diff().unique().tolist() == [100]


def test_random_start_picks_values():
    values = normal(50)
    assert torch.isin(at_random(torch.Generator().manual_seed(3))(values, 8), values).all()


def test_zeros_stay_out_of_the_codebook():
    weight = torch.tensor([[0.0, 1.0, 0.0], [1.1, -2.0, 0.0]])
    codebook = share(weight, 2)
    assert codebook.decode().tolist() == [[0.0, pytest.approx(1.05), 0.0], [pytest.approx(1.05), -2.0, 0.0]]
    assert codebook.bits == 1
    assert torch.equal(codebook.mask, weight != 0)


def test_few_distinct_values_come_back_exactly():
    weight = torch.tensor([0.1, -0.7, 0.1, 0.3, -0.7])
    assert torch.equal(share(weight, 16).decode(), weight)


def test_unused_centroids_are_dropped():
    weight = torch.tensor([-1.0, -1.01, -1.02, 1.0, 1.01])
    codebook = share(weight, 4)
    assert set(codebook.indices.tolist()) == set(range(len(codebook.centroids)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_keep_their_type(dtype):
    codebook = share(normal(100).to(dtype), 8)
    assert codebook.decode().dtype == dtype
    assert len(codebook.decode().unique()) <= 8


def test_an_empty_tensor_has_an_empty_codebook():
    assert torch.equal(share(torch.zeros(3, 2), 4).decode(), torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("weight", "levels", "message"),
    [(torch.ones(3), 0, "at least one level"), (torch.tensor([1.0, float("nan")]), 2, "NaN or infinity")],
)
def test_impossible_requests_are_refused(weight, levels, message):
    with pytest.raises(PrunusError, match=message):
        share(weight, levels)


def test_a_codebook_that_does_not_fit_is_refused():
    mask = torch.tensor([True, True])
    with pytest.raises(PrunusError, match="2 kept entries need as many"):
        Codebook(torch.zeros(2), torch.zeros(1, dtype=torch.long), mask)
    with pytest.raises(PrunusError, match="reach outside a codebook of 2"):
        Codebook(torch.zeros(2), torch.tensor([0, 2]), mask)
