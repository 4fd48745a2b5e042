"""What is certified is never less than what is found, and no more than it has to be where that is known."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from prunus.construction import (
    approximate,
    diamond,
    golden_series,
    linear,
    nearest_subset,
    nearest_weight,
    smallest_subset,
    worst_input,
)
from prunus.construction.certified import operator_norm
from prunus.errors import PrunusError

from .oracle import Given, augmented, perceptron


@given(
    st.integers(0, 10**6),
    st.lists(st.integers(1, 6), min_size=2, max_size=5),
    st.booleans(),
    st.sampled_from([linear, diamond]),
    st.sampled_from([nearest_subset, smallest_subset, nearest_weight, golden_series]),
    st.sampled_from([1, 4, 12]),
    st.sampled_from([0.1, 1.0, 4.0]),
)
@settings(max_examples=40)
def test_no_input_is_worse_than_certified(seed, widths, bias, structure, choose, items, scale):
    target = perceptron(*widths, bias=bias, seed=seed, scale=scale)
    assume(sum(parameter.numel() for parameter in target.parameters()) > 1)  # or there is no range to draw from
    found = approximate(target, items, 0.02, structure=structure, choose=choose, seed=seed)
    worst = worst_input(found, (widths[0],), starts=4, steps=30, seed=seed)
    assert float(worst.norm()) <= 1
    assert float(found.error(worst[None])) <= found.bound


@given(
    st.integers(0, 10**6),
    st.sampled_from([(3, 2), (1, 1), (2, 2)]),
    st.sampled_from([1, 2]),
    st.integers(0, 2),
    st.booleans(),
)
@settings(max_examples=20)
def test_nor_for_convolutions(seed, size, stride, padding, bias):
    torch.manual_seed(seed)
    target = nn.Sequential(
        nn.Conv2d(2, 3, size, stride, padding, bias=bias), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(2)
    )
    shape = (2, 6, 7)
    target(torch.zeros(1, *shape))
    for structure in (linear, diamond):
        found = approximate(target, 10, 0.02, structure=structure, choose=smallest_subset, seed=seed, input_shape=shape)
        worst = worst_input(found, shape, starts=4, steps=30, seed=seed)
        assert 0 < float(found.error(worst[None])) <= found.bound


@given(st.integers(0, 10**6))
@settings(max_examples=10)
def test_of_one_linear_layer_the_bound_is_met(seed):
    """There it is the largest singular value of what is wrong with the weights, and ascent finds its vector."""
    target = perceptron(6, 4, bias=False, seed=seed)
    found = approximate(target, 12, 0.05, choose=smallest_subset, seed=seed)
    error = found.pruned().state_dict()["1.weight"].double().reshape(4, 6, 12).sum(2) - augmented(target[0])
    assert found.bound == pytest.approx(float(torch.linalg.matrix_norm(error, 2)), rel=1e-7)
    measured = float(found.error(worst_input(found, (6,), steps=300)[None]))
    assert measured == pytest.approx(found.bound, rel=1e-3)


def test_both_halves_of_a_diamond_count():
    """Wrong in opposite ways for positive and negative inputs: worse than either matrix, and the bound knows."""
    u = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    v = torch.tensor([[1.5, -1.2, 1.1, -0.6]])  # w = 1 becomes 1.5 and 1.2; w = 1 becomes 1.1 and 0.6
    found = approximate(nn.Sequential(_ones()), 2, 1e-9, structure=diamond, weights=Given([u, v]))
    assert found.bound == pytest.approx(math.sqrt(0.5**2 + 0.2**2 + 0.1**2 + 0.4**2), rel=1e-6)
    expected = math.hypot(0.5, 0.4)  # x_1 above zero, x_2 below, each with the sign that adds up
    measured = float(found.error(worst_input(found, (2,), steps=300)[None]))
    assert measured == pytest.approx(expected, rel=1e-3)
    assert found.max_error == pytest.approx(0.5)


def _ones():
    layer = nn.Linear(2, 1, bias=False)
    nn.init.ones_(layer.weight)
    return layer


@given(st.integers(0, 10**6), st.sampled_from([(1, 1), (3, 3), (2, 3)]), st.sampled_from([(1, 1), (2, 2), (1, 3)]))
@settings(max_examples=20)
def test_operator_norms_against_the_whole_matrix(seed, size, stride):
    kernel = torch.randn(3, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    basis = torch.eye(2 * 7 * 6, dtype=torch.float64).reshape(-1, 2, 7, 6)
    matrix = F.conv2d(basis, kernel, stride=stride, padding=1).flatten(1)
    norm = float(torch.linalg.matrix_norm(matrix, 2))
    assert norm <= operator_norm(kernel, stride) <= 6 * norm
    if size == (1, 1) and stride == (1, 1):
        assert operator_norm(kernel) == pytest.approx(norm, rel=1e-7)


def test_the_worst_input_is_reproducible_and_worse_than_chance():
    found = approximate(perceptron(8, 6, 3), 10, 0.05, choose=smallest_subset)
    worst = worst_input(found, (8,), seed=1)
    assert worst.equal(worst_input(found, (8,), seed=1))
    chance = F.normalize(torch.randn(1000, 8, dtype=torch.float64))
    assert float(found.error(worst[None])) >= 0.99 * float(found.error(chance).max())


def test_a_convolution_with_biases_needs_the_size_of_its_input():
    found = approximate(nn.Sequential(nn.Conv2d(1, 2, 3)), 8, 0.1)
    with pytest.raises(PrunusError, match="give input_shape"):
        found.bound  # noqa: B018
    bare = approximate(nn.Sequential(nn.Conv2d(1, 2, 3, bias=False)), 8, 0.1)
    assert bare.bound > 0
