"""Gradients over batches, against one backward pass over all of the data."""

import pytest
import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.evidence import gradients


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


def test_no_batches_is_refused():
    with pytest.raises(PrunusError, match="at least one batch"):
        gradients(nn.Linear(2, 2), [])


def test_an_infinite_gradient_is_named():
    model = nn.Linear(2, 2)
    with pytest.raises(PrunusError, match="weight: the gradient holds NaN"):
        gradients(model, [(torch.full((1, 2), torch.inf), torch.tensor([0]))])
