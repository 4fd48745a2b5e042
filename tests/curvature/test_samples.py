"""Gradients of single samples against a loop of backward passes, and the inverse Hessian against a direct one."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from prunus.curvature import inverse_hessian, samples, squared_gradients
from prunus.errors import PrunusError

from . import networks as of


@pytest.mark.parametrize("at_once", [1, 100, 1 << 25])
def test_squared_gradients_are_those_of_one_row_at_a_time(monkeypatch, at_once):
    monkeypatch.setattr(samples, "AT_ONCE", at_once)
    network, (inputs, labels) = of.perceptron(4, 5, 3), of.rows(4)
    found = squared_gradients(network, of.batches(inputs, labels))
    expected = torch.zeros_like(network[2].weight)
    for x, label in zip(inputs, labels, strict=True):
        (gradient,) = torch.autograd.grad(cross_entropy(network(x[None]), label[None]), network[2].weight)
        expected += gradient**2 / len(inputs)
    torch.testing.assert_close(found["2.weight"], expected)


def test_the_inverse_is_that_of_the_hessian_where_the_model_is_linear():
    """For squared errors and for cross-entropy the Gauss-Newton matrix is then the whole Hessian."""
    network, (inputs, labels) = of.perceptron(4, 3), of.rows(4)
    for loss in (of.squared_error, cross_entropy):
        found = inverse_hessian(network, of.batches(inputs, labels), damping=0.01, loss=loss)
        damped = of.whole_hessian(network, inputs, labels, loss) + 0.01 * torch.eye(12, dtype=torch.float64)
        torch.testing.assert_close(found, torch.linalg.inv(damped), rtol=1e-10, atol=1e-10)


def test_elsewhere_it_is_that_of_the_gauss_newton_matrix():
    network, (inputs, labels) = of.perceptron(3, 2, 3), of.rows(3)
    found = inverse_hessian(network, of.batches(inputs, labels), damping=1e-3)
    own = list(network.parameters())[::2]
    matrix = 1e-3 * torch.eye(12, dtype=torch.float64)
    for x in inputs:
        outputs = network(x)
        rows = [torch.autograd.grad(o, own, retain_graph=True) for o in outputs]
        jacobian = torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])
        p = outputs.detach().softmax(0)
        matrix += jacobian.T @ (p.diag() - torch.outer(p, p)) @ jacobian / len(inputs)
    torch.testing.assert_close(found, torch.linalg.inv(matrix), rtol=1e-8, atol=1e-8)


def test_refusals():
    network, row = nn.Linear(2, 2), (torch.ones(1, 2), torch.tensor([0]))
    with pytest.raises(PrunusError, match="damping 0"):
        inverse_hessian(network, [row], damping=0)
    with pytest.raises(PrunusError, match="at least one batch"):
        inverse_hessian(network, [])
    with pytest.raises(
        PrunusError, match=r"^the inverse Hessian of all 30,000 weights would take 7 GiB: prune by woodfisher"
    ):
        inverse_hessian(nn.Linear(300, 100), [row])
