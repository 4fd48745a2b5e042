"""Names, ties and shapes."""

import pytest
import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.tree import assign, check_names, detached, parameters, weights, zipped


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10)
        self.head.weight = self.embedding.weight


def test_weights_are_matrices_and_filters_only():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3), nn.PReLU())
    assert list(weights(model)) == ["0.weight", "3.weight"]


def test_recurrent_and_attention_weights_are_found_by_name():
    model = nn.ModuleDict({"lstm": nn.LSTM(3, 4), "attention": nn.MultiheadAttention(8, 2)})
    assert set(weights(model)) == {
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    }


def test_a_tied_parameter_appears_once():
    assert list(weights(Tied())) == ["embedding.weight"]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.compile's own imports
def test_wrapping_leaves_the_names_alone():
    model = nn.Sequential(nn.Linear(3, 2))
    assert list(parameters(torch.compile(model))) == list(parameters(model))


def test_a_model_with_a_child_called_module_keeps_its_names():
    model = nn.ModuleDict({"module": nn.Linear(3, 2)})
    assert list(parameters(model)) == ["module.weight", "module.bias"]


def test_detached_shares_nothing():
    model = nn.Linear(3, 2)
    copy = detached(weights(model))
    model.weight.data.zero_()
    assert copy["weight"].abs().sum() > 0
    assert not copy["weight"].requires_grad


def test_zipped_refuses_other_shapes_and_names():
    first = {"a": torch.zeros(2, 3)}
    with pytest.raises(PrunusError, match=r"a: shape \(3, 2\) != \(2, 3\)"):
        list(zipped(first, {"a": torch.zeros(3, 2)}))
    with pytest.raises(PrunusError, match="missing a; unexpected b"):
        list(zipped(first, {"b": torch.zeros(2, 3)}))


def test_only_the_first_three_names_are_listed():
    expected = dict.fromkeys("abcde")
    with pytest.raises(PrunusError, match="missing a, b, c and 2 more"):
        check_names({}, expected)


def test_assign_writes_in_place_and_checks():
    model = nn.Linear(3, 2)
    storage = model.weight.data_ptr()
    assign(model, {"weight": torch.ones(2, 3)})
    assert model.weight.data_ptr() == storage
    assert torch.equal(model.weight, torch.ones(2, 3))
    with pytest.raises(PrunusError, match="scale is not a parameter of Linear"):
        assign(model, {"scale": torch.ones(1)})
    with pytest.raises(PrunusError, match=r"weight: shape \(3,\) != \(2, 3\)"):
        assign(model, {"weight": torch.ones(3)})
