"""OBD, Fisher and Wanda against what zeroing an entry does, one entry at a time."""

import pytest
import torch
from torch import nn

from prunus import scope
from prunus.curvature import hessian_diagonals, squared_gradients
from prunus.errors import PrunusError
from prunus.inputs import input_norms
from prunus.pruning import prune
from prunus.score import fisher, obd, wanda
from prunus.tree import weights


def squared_error(outputs, labels):
    return (outputs - labels).square().sum(1).mean()


def solved():
    """A linear layer at the minimum of its squared error, and the data."""
    torch.manual_seed(0)
    inputs, labels = torch.randn(30, 4, dtype=torch.float64), torch.randn(30, 3, dtype=torch.float64)
    layer = nn.Linear(4, 3, bias=False).double()
    layer.weight.data = torch.linalg.lstsq(inputs, labels).solution.T.contiguous()
    return layer, inputs, labels


def changes(layer, error):
    """What zeroing each entry alone changes `error(layer)` by."""
    with torch.no_grad():
        before, found = error(layer), torch.zeros_like(layer.weight)
        for index in range(layer.weight.numel()):
            kept = float(layer.weight.view(-1)[index])
            layer.weight.view(-1)[index] = 0
            found.view(-1)[index] = error(layer) - before
            layer.weight.view(-1)[index] = kept
    return found


def test_obd_is_the_change_of_a_quadratic_loss_at_its_minimum():
    layer, inputs, labels = solved()
    diagonals = hessian_diagonals(layer, [(inputs, labels)], squared_error)
    expected = changes(layer, lambda layer: squared_error(layer(inputs), labels))
    torch.testing.assert_close(obd({"weight": layer.weight.detach()}, diagonals)["weight"], expected)


def test_fisher_is_obd_for_a_model_that_the_labels_are_drawn_from():
    """The Fisher information is the Hessian then: here both for softmax, with labels in the parts it gives them."""
    torch.manual_seed(0)
    layer, row = nn.Linear(2, 3).double(), torch.randn(1, 2, dtype=torch.float64)
    draws = 40000
    p = layer(row).detach().softmax(1)[0]
    labels = torch.arange(3).repeat_interleave((p * draws).round().long())
    batch = [(row.expand(len(labels), 2), labels)]
    found = fisher(weights(layer), squared_gradients(layer, batch))["weight"]
    torch.testing.assert_close(found, obd(weights(layer), hessian_diagonals(layer, batch))["weight"], rtol=1e-3, atol=0)


def test_wanda_squared_is_what_zeroing_an_entry_changes_its_layer_by():
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2).double()
    inputs = torch.randn(5, 4, 6, 6, dtype=torch.float64)
    norms = input_norms(layer, [(inputs, None)])
    outputs = layer(inputs).detach()
    expected = changes(layer, lambda layer: (layer(inputs) - outputs).square().sum())
    torch.testing.assert_close(wanda({"weight": layer.weight.detach()}, norms)["weight"].square(), expected)


def test_wanda_keeps_what_magnitude_would_not():
    """The example of its paper's figure: a row's small weights on large inputs stay."""
    values = {"weight": torch.tensor([[4.0, 0.0, 1.0, -1.0], [3.0, -2.0, -1.0, -3.0], [-3.0, 1.0, 0.0, 2.0]])}
    norms = {"weight": torch.tensor([[1.0, 2.0, 8.0, 3.0]])}
    mask = prune(values, wanda, 0.5, scope=scope.row, input_norms=norms)
    assert mask["weight"].int().tolist() == [[1, 0, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]


def test_norms_that_do_not_fit_are_refused():
    with pytest.raises(PrunusError, match=r"weight: input norms \(4,\) do not multiply weights \(3, 4\)"):
        wanda({"weight": torch.ones(3, 4)}, {"weight": torch.ones(4)})
    with pytest.raises(PrunusError, match="missing weight"):
        wanda({"weight": torch.ones(3, 4)}, {})
