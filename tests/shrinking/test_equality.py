"""Whatever is pruned, the smaller network computes the same, and nothing is larger than it need be."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunus.mask import Mask
from prunus.shrinking import shrink
from prunus.tree import weights

from .networks import Residual, channel_mask, check_same, convolutional, drawn, masked, perceptron

SEEDS = st.integers(0, 10_000)


def ragged_mask(model, density, seed):
    """Single weights, whole rows and whole columns pruned at random, each with 1 - `density`."""
    generator = torch.Generator().manual_seed(seed)

    def kept(shape):
        return torch.rand(shape, generator=generator) < density

    return Mask(
        {
            name: kept(w.shape) & kept((w.shape[0], *[1] * (w.ndim - 1))) & kept((1, w.shape[1], *[1] * (w.ndim - 2)))
            for name, w in weights(model).items()
        }
    )


def live_units(layers):
    """Units left in each hidden layer of a perceptron, taken out one at a time by hand.

    `layers` are lists of rows. A unit goes when nothing reads it, or when it reads nothing: then it is a constant,
    and every layer with a bias has a place for that; without, the constant is 0 and needs none.
    """
    layers = [[list(row) for row in layer] for layer in layers]
    while True:
        found = next(
            (
                (number, unit)
                for number, layer in enumerate(layers[:-1])
                for unit, row in enumerate(layer)
                if len(layer) > 1 and (not any(row) or not any(reader[unit] for reader in layers[number + 1]))
            ),
            None,
        )
        if found is None:
            return [len(layer) for layer in layers[:-1]]
        number, unit = found
        del layers[number][unit]
        for reader in layers[number + 1]:
            del reader[unit]


@given(
    widths=st.lists(st.integers(2, 12), min_size=3, max_size=5),
    density=st.sampled_from([0.4, 0.6, 0.8]),
    bias=st.booleans(),
    seed=SEEDS,
)
def test_perceptrons(widths, density, bias, seed):
    model = drawn(perceptron(*widths, bias=bias), seed)
    mask = ragged_mask(model, density, seed)
    small = shrink(model, mask, example=torch.randn(3, widths[0]))
    check_same(model, mask, small, (5, widths[0]))
    expected = live_units([w.tolist() for w in weights(masked(model, mask)).values()])
    if min(expected) > 1:  # otherwise which unit the last one is decides what it reads
        assert [w.shape[0] for w in weights(small).values()][:-1] == expected


def channels_that_matter(model, place, shape, foldable):
    """How many channels of module `place` of a masked `model` must stay, by experiment.

    One may go if noise in its stead is not seen in the network's output, or if it always has one and the same value
    that is 0 or `foldable`.
    """
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(shape, generator=generator)
    seen = []
    handle = model[place].register_forward_hook(lambda module, inputs, output: seen.append(output))
    before = model(x)
    handle.remove()
    values = seen[0].movedim(1, 0).flatten(1)
    stay = 0
    for channel in range(len(values)):

        def disturb(module, inputs, output, channel=channel):
            noisy = output.clone()
            noisy[:, channel] = torch.randn(output[:, channel].shape, generator=generator)
            return noisy

        handle = model[place].register_forward_hook(disturb)
        unseen = torch.equal(model(x), before)
        handle.remove()
        value = values[channel, 0]
        constant = bool((values[channel] == value).all()) and (foldable or float(value) == 0)
        stay += not unseen and not constant
    return stay


@settings(max_examples=25)
@given(
    density=st.sampled_from([0.5, 0.7, 0.8]),
    padding=st.sampled_from([0, 1]),
    bias=st.booleans(),
    activation=st.sampled_from([nn.LeakyReLU, nn.Softsign]),  # which let differences through, however small
    seed=SEEDS,
)
@torch.no_grad()
def test_convolutions(density, padding, bias, activation, seed):
    model = drawn(convolutional(activation, padding, bias), seed)
    mask = ragged_mask(model, density, seed)
    small = shrink(model, mask, example=torch.randn(2, 2, 8, 8))
    check_same(model, mask, small, (3, 2, 8, 8))
    twin = masked(model, mask)
    has_place = (padding == 0, True, True)  # for constants: no zeros around them, then a bias or a norm
    matter = [
        channels_that_matter(twin, place, (2, 2, 8, 8), foldable)
        for place, foldable in zip((2, 6, 9), has_place, strict=True)
    ]
    if min(matter) > 1:  # otherwise which channel the last one is decides what it reads
        assert [len(small[place].weight) for place in (0, 4, 8)] == matter


@settings(max_examples=15)
@given(density=st.sampled_from([0.2, 0.5, 0.8]), seed=SEEDS)
def test_residual_networks(density, seed):
    model = drawn(Residual(), seed)
    mask = ragged_mask(model, density, seed) & channel_mask(model, 0.7, seed, list(weights(model)))
    small = shrink(model, mask, example=torch.randn(2, 3, 6, 6))
    check_same(model, mask, small, (3, 3, 6, 6))


def test_the_zeros_of_a_network_are_mask_enough():
    model = drawn(perceptron(4, 9, 8, 3))
    mask = channel_mask(model, 0.5)
    by_mask = shrink(model, mask, example=torch.randn(2, 4))
    mask.apply_to(model)
    by_zeros = shrink(model, example=torch.randn(2, 4))
    assert all(torch.equal(value, by_zeros.state_dict()[name]) for name, value in by_mask.state_dict().items())
