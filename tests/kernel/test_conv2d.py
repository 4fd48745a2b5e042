"""Sparse convolutions compute what dense ones do: outputs and all gradients."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from prunus.errors import PrunusError
from prunus.kernel import ConvConnections, Window, conv2d, convolutions

from .oracle import assert_exact, computed, kept_at, whole_numbers


def check(kept_shape, image, batch, density, window, biased=True):
    connections = ConvConnections.of(kept_at(density, *kept_shape), window)
    inputs = whole_numbers(batch, kept_shape[1] * window.groups, *image)
    bias = whole_numbers(kept_shape[0]) if biased else None
    assert_exact(partial(conv2d, connections=connections), partial(dense, window=window), connections, inputs, bias)


def dense(inputs, weight, bias, window):
    return F.conv2d(inputs, weight, bias, window.stride, window.padding, window.dilation, window.groups)


PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    outputs=st.integers(1, 5),
    channels=st.integers(1, 4),
    groups=st.integers(1, 3),
    window=PAIRS,
    image=st.tuples(st.integers(1, 12), st.integers(1, 20)),
    batch=st.integers(1, 34),
    stride=PAIRS,
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    dilation=PAIRS,
    density=st.floats(0, 1),
    biased=st.booleans(),
)
def test_small_layers_are_exact(
    outputs, channels, groups, window, image, batch, stride, padding, dilation, density, biased
):
    spans = [d * (n - 1) + 1 for n, d in zip(window, dilation, strict=True)]
    assume(all(size + 2 * p >= span for size, p, span in zip(image, padding, spans, strict=True)))
    shape = (outputs * groups, channels, *window)
    check(shape, image, batch, density, Window(stride, padding, dilation, groups), biased)


@pytest.mark.parametrize("density", [0.0, 0.03, 0.4, 1.0])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_layers_of_several_blocks_and_bands_are_exact(density, stride, monkeypatch):
    monkeypatch.setattr(convolutions, "MEMORY", 2**16)
    check((40, 70, 3, 3), (9, 11), 17, density, Window(stride, (1, 1)))
    check((70, 90, 1, 1), (6, 5), 33, density, Window(stride))


@pytest.mark.parametrize("threads", [2, 5])
def test_workers_do_not_meet(one_thread, threads):
    torch.set_num_threads(threads)
    for _ in range(3):
        check((24, 20, 3, 3), (16, 16), 150, 0.3, Window(padding=(1, 1)))


def test_every_channel_of_its_own():
    check((24, 1, 3, 3), (7, 7), 20, 0.6, Window(padding=(1, 1), groups=24))


def test_the_number_of_threads_changes_no_bit_of_outputs(one_thread):
    connections = ConvConnections.of(kept_at(0.3, 8, 6, 3, 3), Window(padding=(1, 1)))
    values, inputs = torch.randn(len(connections.entries)), torch.randn(40, 6, 9, 9)
    layer = partial(conv2d, connections=connections)
    alone = computed(layer, inputs, values, None)
    torch.set_num_threads(3)
    outputs, of_inputs, of_values = computed(layer, inputs, values, None)
    assert torch.equal(outputs, alone[0])
    assert torch.equal(of_inputs, alone[1])
    torch.testing.assert_close(of_values, alone[2], atol=1e-3, rtol=1e-3)  # added up in another order
    assert torch.equal(of_values, computed(layer, inputs, values, None)[2])


def test_images_are_one_of_many_kinds():
    connections = ConvConnections.of(kept_at(0.4, 6, 5, 3, 3), Window(padding=(1, 1)))
    values, bias = torch.randn(len(connections.entries)), torch.randn(6)
    weight = torch.zeros(6 * 5 * 9).index_put((connections.entries,), values).view(6, 5, 3, 3)
    other = partial(F.conv2d, padding=1)
    last = torch.randn(4, 5, 6, 7).to(memory_format=torch.channels_last)
    for inputs in (last, torch.randn(5, 4, 7, 12).transpose(0, 1)[..., ::2], torch.randn(0, 5, 3, 3)):
        found, expected = (
            computed(f, inputs, w, bias)
            for f, w in ((partial(conv2d, connections=connections), values), (other, weight))
        )
        expected[2] = expected[2].flatten()[connections.entries]
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_double_goes_through_the_dense_weight():
    connections = ConvConnections.of(kept_at(0.5, 2, 2, 2, 2), Window((2, 1), (1, 0)))
    shapes = [(2, 2, 3, 4), (len(connections.entries),), (2,)]
    arguments = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(partial(conv2d, connections=connections), arguments)


def test_what_does_not_fit_is_said():
    connections = ConvConnections.of(torch.ones(2, 3, 3, 3, dtype=torch.bool))
    with pytest.raises(PrunusError, match=r"inputs: found \(3, 8, 8\), expected \(batch, 3, any, any\)"):
        conv2d(torch.ones(3, 8, 8), torch.ones(54), None, connections)
    with pytest.raises(PrunusError, match="smaller than the window"):
        conv2d(torch.ones(1, 3, 2, 8), torch.ones(54), None, connections)
    with pytest.raises(PrunusError, match=r"kept: found torch.bool \(2, 3, 3, 3\) for 4 groups, expected"):
        ConvConnections.of(torch.ones(2, 3, 3, 3, dtype=torch.bool), Window(groups=4))
