"""Gradients are masked before anyone sees them, except where dense ones are asked for."""

import pytest
import torch
from torch import nn

from prunus.holding import hold
from prunus.mask import Mask

from .networks import backward, is_plus_zero, loss, network, random_mask, train


def test_clipping_sees_the_norm_of_the_masked_gradient():
    model, mask = network(), random_mask(network(), 0.1)
    mask.apply_to(model)
    gradients = torch.autograd.grad(loss(model, 0), list(model.parameters()))
    whole = sum(float(gradient.square().sum()) for gradient in gradients)
    masked = sum(
        float((gradient * mask.get(name, torch.ones(()))).square().sum())
        for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True)
    )
    assert whole > 1.4 * masked
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask):
        backward(model)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        assert float(norm) == pytest.approx(masked**0.5)
        left = sum(float(parameter.grad.square().sum()) for parameter in model.parameters())
        assert left**0.5 == pytest.approx(1e-3, rel=1e-3)


def test_gradients_shared_between_parameters_are_not_disturbed():
    """`a + b` gives both the same gradient tensor: masking one's must leave the other's."""
    model = nn.ParameterDict({"a": torch.ones(2, 3), "b": torch.ones(2, 3)})
    mask = Mask({"a": torch.zeros(2, 3, dtype=torch.bool)})
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask):
        (model["a"] + model["b"]).square().sum().backward()
    assert torch.equal(model["a"].grad, torch.zeros(2, 3))
    assert torch.equal(model["b"].grad, torch.full((2, 3), 2.0))


def test_accumulated_gradients_are_the_sum_of_masked_ones():
    model, mask = network(), random_mask(network())
    first = model[0].weight
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask):
        expected = sum(torch.autograd.grad(loss(model, seed), [first])[0] for seed in range(3))
        for seed in range(3):
            backward(model, seed)
    torch.testing.assert_close(first.grad, expected * mask["0.weight"])


def test_dense_gradients_last_for_the_block():
    model, mask = network(), random_mask(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with hold(optimizer, model, mask) as held:
        expected = torch.autograd.grad(loss(model, 0), model[0].weight)[0]
        with held.dense_gradients():
            backward(model)
            assert torch.equal(model[0].weight.grad, expected)
        assert torch.equal(model[0].weight.grad, expected * mask["0.weight"])
        with held.dense_gradients():
            train(model, optimizer)
        held.verify()
        train(model, optimizer)
        held.verify()


def test_dense_gradients_end_with_an_error_too():
    model = network()
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, random_mask(model)) as held:
        with pytest.raises(KeyError), held.dense_gradients():
            raise KeyError
        backward(model)
        assert is_plus_zero(model[0].weight.grad[~held.mask["0.weight"]])


def test_double_backward_goes_through():
    model, mask = network(), random_mask(network())
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask):
        gradients = torch.autograd.grad(loss(model, 0), [model[0].weight], create_graph=True)
        gradients[0].square().sum().backward()
        assert is_plus_zero(model[0].weight.grad[~mask["0.weight"]])
