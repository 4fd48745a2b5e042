"""The pruned random network, run, gives what its nonzero weights, added up by hand, say."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunus import draws, models
from prunus.construction import (
    Uniform,
    approximate,
    diamond,
    linear,
    linear_by_row,
    nearest_subset,
    nearest_weight,
    smallest_subset,
)
from prunus.tree import weights

from .oracle import Given, augmented, halves_of_diamond, perceptron, with_one

X = torch.linspace(-1, 1, 7 * 5, dtype=torch.float64).reshape(7, 5).sin()


def test_the_linear_structure_adds_up_the_weights_that_it_keeps():
    target = perceptron(5, 4, 3)
    found = approximate(target, 12, 0.05)
    first, second = (w.double() for w in found.pruned().state_dict().values())
    hidden = F.relu(with_one(X) @ first.reshape(4, 6, 12).sum(2).T)
    expected = with_one(hidden) @ second.reshape(3, 5, 12).sum(2).T
    torch.testing.assert_close(found.pruned().double()(X), expected)
    errors = [
        (weight.reshape(*layer.shape, 12).sum(2) - layer).abs().flatten()
        for weight, layer in zip((first, second), (augmented(target[0]), augmented(target[2])), strict=True)
    ]
    torch.testing.assert_close(found.weight_errors, torch.cat(errors), atol=1e-12, rtol=0)
    assert found.target_weights == 39
    assert found.random_weights == 39 * 12
    assert found.kept_weights == int((first != 0).sum() + (second != 0).sum())


def test_every_output_has_one_vector_in_the_published_variant():
    found = approximate(perceptron(5, 4, bias=False), 9, 0.05, structure=linear_by_row, seed=3)
    vectors = found.network[1].weight.reshape(4, 5, 9)
    assert (vectors == vectors[:, :1]).all()
    assert len(vectors.unique()) == 36
    low, high = (float(extreme) for extreme in augmented(found.target[0]).aminmax())
    torch.testing.assert_close(vectors[:, 0], draws.uniform(3, 0, (4, 9), low, high), rtol=0, atol=0)


@given(st.booleans(), st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_a_diamond_is_two_sums_of_paths(bias, seed):
    target = perceptron(5, 4, 3, bias=bias, seed=seed)
    found = approximate(target, 24, 0.01, structure=diamond, choose=smallest_subset, seed=seed)
    one = with_one if bias else lambda x: x
    u1, v1, u2, v2 = (w.double() for w in found.pruned().state_dict().values())
    positive, negative = halves_of_diamond(u1, v1)
    x = one(X)
    hidden = one(F.relu(F.relu(x) @ positive.T - F.relu(-x) @ negative.T))
    later, unused = halves_of_diamond(u2, v2)
    assert not unused.any()  # what a ReLU gives is never below zero
    torch.testing.assert_close(found.pruned().double()(X), hidden @ later.T)
    if bias:
        assert not negative[:, -1].any()
        negative[:, -1] = augmented(target[0])[:, -1]
    errors = (torch.stack([positive, negative]) - augmented(target[0])).abs().amax(0), later - augmented(target[2])
    expected = torch.cat([error.abs().flatten() for error in errors])
    torch.testing.assert_close(found.weight_errors, expected, atol=1e-12, rtol=0)
    assert found.within_epsilon == float((expected <= 0.01).double().mean())
    assert found.random_weights == sum(w.numel() for w in (u1, v1, u2, v2))


def exact_diamond(kernel):
    """First weights 1 and -1 for each input, and second ones that make `kernel` (out, in, ...) of them exactly."""
    inputs = kernel.shape[1]
    signs = torch.tensor([1.0, -1.0])
    first = torch.block_diag(*[signs[:, None]] * inputs) + 100 * (1 - torch.block_diag(*[torch.ones(2, 1)] * inputs))
    second = (kernel.unsqueeze(2) * signs.reshape(2, *[1] * (kernel.ndim - 2))).flatten(1, 2)
    return [first, second]


def test_a_number_is_its_positive_part_less_its_negative_part():
    layer = nn.Linear(5, 3, bias=False)
    found = approximate(
        nn.Sequential(layer), 2, 1e-9, structure=diamond, weights=Given(exact_diamond(layer.weight.data))
    )
    torch.testing.assert_close(found.pruned().double()(X), X @ layer.weight.double().T, rtol=0, atol=1e-15)
    assert found.max_error == 0
    assert 0 < found.bound < 1e-13  # rounding alone


def test_a_convolution_of_diamonds_is_the_convolution():
    for options in ({}, {"padding": (1, 2)}, {"stride": (2, 1), "padding": 1, "bias": False}):
        layer = nn.Conv2d(2, 3, (3, 2), **options)
        kernel = layer.weight.data
        if layer.bias is not None:
            ones = torch.zeros(3, 1, 3, 2)
            ones[:, 0, 0, 0] = layer.bias.data
            kernel = torch.cat([kernel, ones], 1)
        halves = Given(exact_diamond(kernel))
        found = approximate(nn.Sequential(layer), 2, 1e-9, structure=diamond, weights=halves, input_shape=(2, 6, 5))
        x = torch.randn(4, 2, 6, 5, dtype=torch.float64)
        weight, bias = layer.weight.double(), None if layer.bias is None else layer.bias.double()
        expected = F.conv2d(x, weight, bias, layer.stride, layer.padding)
        torch.testing.assert_close(found.pruned().double()(x), expected, rtol=0, atol=1e-14)


def test_a_convolution_of_many_random_weights_comes_near():
    torch.manual_seed(0)
    target = models.from_description("lenet-5(1x8x8,3)")
    x = torch.randn(3, 1, 8, 8)
    for structure, choose in ((diamond, nearest_subset), (linear, nearest_weight)):
        found = approximate(target, 36, 0.02, structure=structure, choose=choose, input_shape=(1, 8, 8))
        with torch.no_grad():
            expected, outputs = target(x), found.pruned()(x)
        torch.testing.assert_close((expected - outputs).norm(dim=1).double(), found.error(x), atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(outputs, expected, atol=0.1 * float(expected.abs().max()), rtol=0.3)


def test_networks_that_call_functions_are_read_as_those_of_modules():
    for name in ("lenet-300-100(1x4x4,3)", "fc-500(1x3x3,2)", "conv-2(1x4x4,3)"):
        target = models.from_description(name).eval()
        shape = models.Description.parse(name).input_shape
        found = approximate(target, 8, 0.1, choose=nearest_weight, input_shape=shape)
        x = torch.randn(2, *shape)
        torch.testing.assert_close(found.target(x), target(x))
        assert found.target_weights == sum(parameter.numel() for parameter in target.parameters())


def test_the_network_is_its_seed():
    target = perceptron(5, 4, 3)
    one, same, other = (approximate(target, 6, 0.1, seed=seed, structure=diamond) for seed in (1, 1, 2))
    for name, weight in weights(one.network).items():
        assert weight.equal(weights(same.network)[name])
        assert not weight.equal(weights(other.network)[name])
    first, second = list(weights(one.network).values())[:2]
    assert first.equal(draws.uniform(1, 0, (36, 6), -1, 1))
    assert second.equal(draws.uniform(1, 1, (4, 36), -1, 1))
    assert one.mask == same.mask
    assert one.metadata == {"seed": "1", "weights": str(Uniform(-1.0, 1.0)), "structure": "diamond", "items": "6"}


def test_the_target_and_the_network_stay_as_they_are():
    target = perceptron(5, 4, 3).train()
    before = [parameter.clone() for parameter in target.parameters()]
    found = approximate(target, 6, 0.1)
    random = [parameter.clone() for parameter in found.network.parameters()]
    found.pruned()
    assert found.error(X).shape == (7,)
    assert target.training
    assert all(map(torch.equal, target.parameters(), before))
    assert all(map(torch.equal, found.network.parameters(), random))
    assert all(parameter.dtype == torch.float32 for parameter in target.parameters())
