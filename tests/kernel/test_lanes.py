"""Batches as lanes, and layers that follow each other on them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from prunus.errors import PrunusError
from prunus.kernel import (
    ConvConnections,
    LinearConnections,
    Window,
    conv2d,
    conv2d_on_lanes,
    from_lanes,
    linear,
    linear_on_lanes,
    scattered,
    to_lanes,
)

from .oracle import kept_at


@given(batch=st.integers(0, 70), features=st.lists(st.integers(1, 40), max_size=3))
def test_an_entry_of_a_batch_is_a_lane_of_a_tile(batch, features):
    inputs = torch.randn(batch, *features)
    for made in (to_lanes(inputs), to_lanes(inputs.double()).float()):
        assert made.shape == (-(-batch // 16), *features, 16)
        assert all(torch.equal(made[i // 16, ..., i % 16], inputs[i]) for i in range(batch))
        assert batch % 16 == 0 or not made[-1, ..., batch % 16 :].any()
        assert torch.equal(from_lanes(made, batch), inputs)


def test_there_and_back_is_the_identity_of_gradients_too():
    inputs = torch.randn(20, 3, requires_grad=True)
    outputs = from_lanes(to_lanes(inputs), 20)
    steps = torch.randn(20, 3)
    assert torch.equal(torch.autograd.grad(outputs, inputs, steps)[0], steps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layers_follow_each_other_on_lanes(dtype):
    """With a batch that ends within a tile: what the lanes beyond it hold reaches no gradient."""
    image = ConvConnections.of(kept_at(0.4, 6, 3, 3, 3), Window(padding=(1, 1)))
    matrix = LinearConnections.of(kept_at(0.3, 5, 6 * 4 * 4))
    parameters = [
        nn.Parameter(torch.randn(size, dtype=dtype)) for size in (len(image.entries), 6, len(matrix.entries), 5)
    ]
    inputs = torch.randn(21, 3, 4, 4, dtype=dtype)

    def on_lanes(one, two, three, four):
        hidden = conv2d_on_lanes(to_lanes(inputs), one, two, image).relu()
        return from_lanes(linear_on_lanes(hidden.flatten(1, 3), three, four, matrix), 21)

    def apart(one, two, three, four):
        return linear(conv2d(inputs, one, two, image).relu().flatten(1), three, four, matrix)

    def dense(one, two, three, four):
        hidden = F.conv2d(inputs, scattered(one, image), two, padding=1).relu()
        return F.linear(hidden.flatten(1), scattered(three, matrix), four)

    expected = dense(*parameters)
    steps = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, parameters, steps)
    for network in (on_lanes, apart):
        outputs = network(*parameters)
        torch.testing.assert_close(outputs, expected, atol=1e-4, rtol=1e-4)
        found = torch.autograd.grad(outputs, parameters, steps)
        torch.testing.assert_close(found, gradients, atol=1e-4, rtol=1e-4)


def test_lanes_that_are_not_are_refused():
    with pytest.raises(PrunusError, match=r"lanes: found \(2, 3, 16\), expected \(3, ..., 16\)"):
        from_lanes(torch.ones(2, 3, 16), 40)
    connections = LinearConnections.of(kept_at(1, 2, 3))
    with pytest.raises(PrunusError, match=r"inputs: found \(2, 3\), expected \(tiles, 3, 16\)"):
        linear_on_lanes(torch.ones(2, 3), torch.ones(6), None, connections)
