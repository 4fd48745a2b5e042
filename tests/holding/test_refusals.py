"""Masks and gradients that cannot be held are refused by name."""

import copy

import pytest
import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.mask import Mask

from .networks import backward, network, random_mask


def test_a_refused_mask_leaves_no_hooks_behind():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PrunusError, match=r"2\.weight: mask \(2, 2\) != weight \(3, 7\)"):
        hold(optimizer, model, Mask(dict(random_mask(model)) | {"2.weight": torch.zeros(2, 2).bool()}))
    assert not optimizer._optimizer_step_post_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    backward(model)
    assert (model[0].weight.grad != 0).all()


def test_names_that_do_not_fit_are_named():
    model = network()
    mask = random_mask(model)
    partly = torch.optim.SGD(model[0].parameters(), lr=0.1)
    with pytest.raises(PrunusError, match=r"not in this optimizer: \['2.weight'\]"):
        hold(partly, model, mask)
    with pytest.raises(PrunusError, match=r"not in this model: \['3.weight'\]"):
        hold(partly, model, Mask({"3.weight": mask["0.weight"]}))
    held = hold(partly, model, Mask({"0.weight": mask["0.weight"]}))
    with pytest.raises(PrunusError, match=r"unexpected 2\.weight"):
        held.update(mask)


def test_whole_numbers_are_refused():
    model = nn.ParameterDict({"codes": nn.Parameter(torch.zeros(2, 2, dtype=torch.int64), requires_grad=False)})
    with pytest.raises(PrunusError, match=r"codes: only floating-point .* torch\.int64"):
        hold(torch.optim.SGD(model.parameters()), model, Mask({"codes": torch.ones(2, 2, dtype=torch.bool)}))


def test_a_sparse_gradient_is_refused_by_name():
    model = nn.Sequential(nn.Embedding(4, 2, sparse=True))
    held = hold(torch.optim.SGD(model.parameters(), lr=0.1), model, Mask.dense(model))
    with held, pytest.raises(PrunusError, match=r"0\.weight: a sparse gradient"):
        model(torch.tensor([1])).sum().backward()
