"""Sparse linear layers compute what dense ones do: outputs and all gradients."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from prunus.errors import PrunusError
from prunus.kernel import LinearConnections, linear, parallel, scattered

from .oracle import assert_exact, computed, kept_at, whole_numbers


def check(outputs, inputs, batch, density, biased=True, seed=0):
    connections = LinearConnections.of(kept_at(density, outputs, inputs, seed=seed))
    layer = partial(linear, connections=connections)
    assert_exact(layer, F.linear, connections, whole_numbers(batch, inputs), whole_numbers(outputs) if biased else None)


@given(
    outputs=st.integers(1, 70),
    inputs=st.integers(1, 70),
    batch=st.integers(1, 130),
    density=st.floats(0, 1),
    biased=st.booleans(),
    seed=st.integers(0, 9),
)
def test_small_layers_are_exact(outputs, inputs, batch, density, biased, seed):
    check(outputs, inputs, batch, density, biased, seed)


@pytest.mark.parametrize("density", [0.0, 0.02, 0.3, 1.0])
def test_layers_of_several_blocks_are_exact(density):
    check(300, 1100, 100, density)
    check(1100, 70, 48, density)


def test_the_number_of_threads_changes_no_bit(one_thread):
    connections = LinearConnections.of(kept_at(0.3, 200, 300))
    values, inputs = torch.randn(len(connections.entries)), torch.randn(90, 300)
    layer = partial(linear, connections=connections)
    alone = computed(layer, inputs, values, None)
    torch.set_num_threads(3)
    assert all(map(torch.equal, alone, computed(layer, inputs, values, None)))


def test_threads_of_our_own_do_the_same_where_torch_has_none_to_lend(monkeypatch):
    monkeypatch.setattr(parallel, "_start", lambda: parallel._start_threads)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        check(300, 400, 100, 0.1)
    finally:
        torch.set_num_threads(threads)


def test_callers_in_several_threads_do_not_meet():
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(check, 60 + i, 200, 70, 0.2, seed=i) for i in range(16)]:
            done.result()


def test_a_matrix_of_inputs_is_one_of_many_kinds():
    connections = LinearConnections.of(kept_at(0.4, 6, 5))
    values, bias = torch.randn(len(connections.entries)), torch.randn(6)
    weight = scattered(values, connections)
    layer = partial(linear, connections=connections)
    strided = torch.randn(5, 40).t()[::2]
    for inputs in (torch.randn(3, 4, 5), torch.randn(5), strided, torch.randn(0, 5), torch.randn(2, 0, 5)):
        for one, other in zip(
            computed(layer, inputs, values, bias), computed(F.linear, inputs, weight, bias), strict=True
        ):
            other = other.flatten()[connections.entries] if other.shape == weight.shape != one.shape else other
            torch.testing.assert_close(one, other)


def test_values_and_bias_may_be_views():
    connections = LinearConnections.of(kept_at(0.5, 7, 9))
    inputs, values, bias = torch.randn(5, 9), torch.randn(len(connections.entries), 2)[:, 1], torch.randn(7, 3)[:, 0]
    found = linear(inputs, values, bias, connections)
    torch.testing.assert_close(found, F.linear(inputs, scattered(values, connections), bias))


def test_double_goes_through_the_dense_weight_with_gradients_of_both_orders():
    connections = LinearConnections.of(kept_at(0.5, 4, 3))
    shapes = [(2, 3), (len(connections.entries),), (4,)]
    arguments = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(partial(linear, connections=connections), arguments)
    assert torch.autograd.gradgradcheck(partial(linear, connections=connections), arguments)


def test_only_what_is_asked_for_is_computed():
    connections = LinearConnections.of(kept_at(0.5, 8, 8))
    inputs, values = torch.randn(2, 8), torch.randn(len(connections.entries), requires_grad=True)
    linear(inputs, values, torch.randn(8), connections).sum().backward()
    assert inputs.grad is None
    expected = inputs.sum(0).expand(8, 8).flatten()[connections.entries]
    torch.testing.assert_close(values.grad, expected)


@pytest.mark.parametrize(
    ("inputs", "values", "bias", "found"),
    [
        (torch.ones(2, 4), torch.ones(6), None, r"inputs: found \(2, 4\), expected \(batch, 3\)"),
        (torch.ones(2, 3), torch.ones(5), None, r"values and bias: found \(5,\) and None, expected \(6,\)"),
        (torch.ones(2, 3), torch.ones(6), torch.ones(3), r"found \(6,\) and \(3,\), expected \(6,\) and \(2,\)"),
        (
            torch.ones(2, 3),
            torch.ones(6).double(),
            None,
            "values: found torch.float64 on cpu, and inputs of torch.float32",
        ),
    ],
)
def test_what_does_not_fit_is_said(inputs, values, bias, found):
    connections = LinearConnections.of(torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(PrunusError, match=found):
        linear(inputs, values, bias, connections)


def test_kept_is_a_boolean_matrix():
    with pytest.raises(PrunusError, match=r"kept: found torch.float32 \(2, 3\), expected booleans"):
        LinearConnections.of(torch.ones(2, 3))
