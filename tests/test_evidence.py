"""Gradients over batches, against one backward pass over all of the data."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from prunus.errors import PrunusError
from prunus.evidence import flows, gradients, hessian_gradients


@pytest.mark.parametrize("rows", [4, 5])
def test_the_mean_over_batches_is_the_gradient_of_the_mean(rows):
    """Whether or not the last batch is smaller; what was in evaluation mode stays in it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3)).double()
    model[1].eval()
    inputs, labels = torch.randn(12, 4, dtype=torch.float64), torch.arange(12) % 3
    found = gradients(model, zip(inputs.split(rows), labels.split(rows), strict=True))
    assert [module.training for module in model] == [True, False, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    model.eval()
    nn.functional.cross_entropy(model(inputs), labels).backward()
    torch.testing.assert_close(found["0.weight"], model[0].weight.grad)
    torch.testing.assert_close(found["2.weight"], model[2].weight.grad)


def normed():
    """A network with BatchNorm, and a batch whose statistics are far from those before training."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double()
    return model, (5 * torch.randn(12, 4, dtype=torch.float64) + 3, torch.arange(12) % 3)


def slope(model, batch, training):
    """Gradients by autograd, which can be differentiated again, of a copy in training or evaluation mode."""
    network = copy.deepcopy(model).train(training)
    own = [network[0].weight, network[3].weight]
    return own, torch.autograd.grad(cross_entropy(network(batch[0]), batch[1]), own, create_graph=True)


@pytest.mark.parametrize("trained", [False, True])
def test_batchnorm_works_by_the_batch_until_it_has_statistics(trained):
    model, batch = normed()
    if trained:
        model(batch[0] + 1)
    model.eval()
    state = copy.deepcopy(model.state_dict())
    own, expected = slope(model, batch, training=not trained)
    found = gradients(model, [batch])
    for name, one in zip(("0.weight", "3.weight"), expected, strict=True):
        torch.testing.assert_close(found[name], one.detach(), rtol=1e-9, atol=1e-12)
    products = torch.autograd.grad(sum((g * g.detach()).sum() for g in expected), own)
    found = hessian_gradients(model, [batch], temperature=1)
    for name, one in zip(("0.weight", "3.weight"), products, strict=True):
        torch.testing.assert_close(found[name], one, rtol=1e-9, atol=1e-12)
    assert not any(module.training for module in model.modules())
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())
    model.train()(batch[0])
    assert not model.state_dict()["1.running_mean"].equal(state["1.running_mean"])  # it goes on counting


def test_flows_go_through_batchnorm_as_in_evaluation():
    """Before training, it divides by the root of 1 + 1e-5, whatever the batch: a network without it tells."""
    model, (inputs, _) = normed()
    without = nn.Sequential(model[0], nn.Identity(), model[2], model[3])
    without[1].register_forward_hook(lambda module, inputs, output: output / (1 + 1e-5) ** 0.5)
    found, expected = flows(model, inputs[:1]), flows(without, inputs[:1])
    for name in ("0.weight", "3.weight"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=0)


def test_no_batches_is_refused():
    with pytest.raises(PrunusError, match="at least one batch"):
        gradients(nn.Linear(2, 2), [])


def test_an_infinite_gradient_is_named():
    model = nn.Linear(2, 2)
    with pytest.raises(PrunusError, match="weight: the gradient holds NaN"):
        gradients(model, [(torch.full((1, 2), torch.inf), torch.tensor([0]))])
