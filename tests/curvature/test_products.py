"""Hessian-vector products and Hutchinson's estimate against the whole Hessian."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from prunus.curvature import hessian_vector_product, hutchinson_diagonals
from prunus.errors import PrunusError
from prunus.tree import weights

from . import networks as of


def test_products_are_those_of_the_whole_hessian():
    network, (inputs, labels) = of.perceptron(4, 5, 4, 3), of.rows(4)
    torch.manual_seed(2)
    vector = {name: torch.randn_like(weight) for name, weight in weights(network).items()}
    found = hessian_vector_product(network, vector, of.batches(inputs, labels))
    expected = of.whole_hessian(network, inputs, labels, cross_entropy) @ of.flat(vector)
    torch.testing.assert_close(of.flat(found), expected, rtol=1e-10, atol=1e-12)


def test_a_loss_that_does_not_bend_has_no_hessian():
    vector = {"weight": torch.ones(2, 3)}
    found = hessian_vector_product(nn.Linear(3, 2), vector, [(torch.ones(1, 3), torch.zeros(1))], lambda o, _: o.sum())
    assert found["weight"].eq(0).all()


def test_the_estimate_is_exact_where_the_hessian_is_diagonal():
    """One input a weight: a single draw gives the diagonal."""
    torch.manual_seed(0)
    network, scale = nn.Linear(1, 3).double(), torch.rand(5, 1, dtype=torch.float64)
    found = hutchinson_diagonals(
        network, [(scale, torch.zeros(5, dtype=torch.long))], torch.Generator(), samples=1, loss=of.squared_error
    )
    torch.testing.assert_close(found["weight"], (2 * scale.square().mean()).expand(3, 1))


def test_the_estimate_lies_where_its_variance_says():
    """Its deviations, in standard deviations, have the size of one over 28 entries; the seed decides them."""
    network, (inputs, labels) = of.perceptron(4, 4, 3), of.rows(4)
    samples = 400

    def estimated(seed):
        generator = torch.Generator().manual_seed(seed)
        return of.flat(hutchinson_diagonals(network, [(inputs, labels)], generator, samples=samples))

    exact = of.whole_hessian(network, inputs, labels, cross_entropy)
    variance = (exact.square().sum(1) - exact.diagonal().square()) / samples
    deviation = (estimated(0) - exact.diagonal()) / variance.sqrt()
    assert 0.7 < float(deviation.square().mean().sqrt()) < 1.3
    assert torch.equal(estimated(0), estimated(0))
    assert not torch.equal(estimated(0), estimated(1))


def test_refusals():
    network, row = nn.Linear(2, 2), (torch.ones(1, 2), torch.tensor([0]))
    with pytest.raises(PrunusError, match="samples 0"):
        hutchinson_diagonals(network, [row], torch.Generator(), samples=0)
    with pytest.raises(PrunusError, match="missing weight"):
        hessian_vector_product(network, {}, [row])
    with pytest.raises(PrunusError, match="at least one batch"):
        hutchinson_diagonals(network, [], torch.Generator())
