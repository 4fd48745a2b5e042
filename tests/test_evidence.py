"""Gradients over batches, against one backward pass over all of the data."""

import pytest
import torch
from torch import nn

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


@pytest.mark.parametrize(
    "measure",
    [gradients, hessian_gradients, lambda model, batches: flows(model, batches[0][0][:1])],
    ids=["snip", "grasp", "synflow"],
)
def test_batchnorm_works_as_in_evaluation(measure):
    """Before training, it divides by the root of 1 + 1e-5, whatever the batch: a network without it tells."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double()
    without = nn.Sequential(nn.Linear(4, 6), nn.Identity(), nn.ReLU(), nn.Linear(6, 3)).double()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    without.load_state_dict({name: value for name, value in state.items() if not name.startswith("1.")})
    without[1].register_forward_hook(lambda module, inputs, output: output / (1 + 1e-5) ** 0.5)
    batches = [(5 * torch.randn(12, 4, dtype=torch.float64) + 3, torch.arange(12) % 3)]
    found, expected = measure(model, batches), measure(without, batches)
    for name in ("0.weight", "3.weight"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=0)
    assert model.training
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())


def test_no_batches_is_refused():
    with pytest.raises(PrunusError, match="at least one batch"):
        gradients(nn.Linear(2, 2), [])


def test_an_infinite_gradient_is_named():
    model = nn.Linear(2, 2)
    with pytest.raises(PrunusError, match="weight: the gradient holds NaN"):
        gradients(model, [(torch.full((1, 2), torch.inf), torch.tensor([0]))])
