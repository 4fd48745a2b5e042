"""Gradients over batches, against one backward pass over all of the data."""

import pytest
import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.evidence import gradients


def test_mean_over_equal_batches_is_the_gradient_of_the_mean():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3)).double()
    inputs, labels = torch.randn(12, 4, dtype=torch.float64), torch.arange(12) % 3
    found = gradients(model, zip(inputs.split(4), labels.split(4), strict=True))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    model.eval()
    nn.functional.cross_entropy(model(inputs), labels).backward()
    torch.testing.assert_close(found["0.weight"], model[0].weight.grad)
    torch.testing.assert_close(found["2.weight"], model[2].weight.grad)


def test_no_batches_is_refused():
    with pytest.raises(PrunusError, match="at least one batch"):
        gradients(nn.Linear(2, 2), [])


def test_an_infinite_gradient_is_named():
    model = nn.Linear(2, 2)
    with pytest.raises(PrunusError, match="weight: the gradient holds NaN"):
        gradients(model, [(torch.full((1, 2), torch.inf), torch.tensor([0]))])
