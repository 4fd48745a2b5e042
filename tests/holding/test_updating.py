"""Another mask, a layer thawed, and the end of holding."""

import copy
import gc
import weakref

import torch

from prunus.holding import hold
from prunus.mask import Mask

from .networks import backward, is_plus_zero, network, random_mask, train


def test_update_prunes_weights_gradients_and_state():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    held = hold(optimizer, model, random_mask(model, 0.8, seed=1))
    train(model, optimizer)  # leaves gradients behind
    mask = random_mask(model, 0.3, seed=2)
    held.update(mask)
    assert held.mask == mask
    for name, kept in mask.items():
        weight = model.get_parameter(name)
        state = optimizer.state[weight]
        for tensor in (weight, weight.grad, state["exp_avg"], state["exp_avg_sq"]):
            assert is_plus_zero(tensor[~kept])
            assert tensor[kept].any()


def test_regrown_weights_start_at_zero_with_zero_state():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    few, many = random_mask(model, 0.2), Mask.dense(model)
    held = hold(optimizer, model, few)
    train(model, optimizer)
    held.update(many)
    for name, kept in few.items():
        weight = model.get_parameter(name)
        assert is_plus_zero(weight[~kept])
        assert is_plus_zero(optimizer.state[weight]["exp_avg"][~kept])
    train(model, optimizer)
    assert all((model.get_parameter(name) != 0).all() for name in many)


def test_a_mask_given_or_received_is_not_shared():
    model, mask = network(), random_mask(network())
    before = copy.deepcopy(dict(mask))
    held = hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask)
    for name in mask:
        mask[name].fill_(True)
        held.mask[name].fill_(True)
    assert held.mask == Mask(before)


def test_a_layer_thawed_later_is_held():
    model = network()
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with hold(optimizer, model, random_mask(model)) as held:
        assert not model[0].weight.requires_grad
        train(model, optimizer)
        held.verify()
        model[0].weight.requires_grad_(True)
        backward(model)
        assert is_plus_zero(model[0].weight.grad[~held.mask["0.weight"]])
        assert model[0].weight.grad.any()


def test_release_lets_the_weights_go():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    held = hold(optimizer, model, random_mask(model))
    held.release()
    held.release()
    train(model, optimizer)
    assert (model[0].weight != 0).all()
    assert not optimizer._optimizer_step_post_hooks


def test_the_block_releases():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with hold(optimizer, model, random_mask(model)):
        train(model, optimizer)
        assert (model[0].weight == 0).any()
    train(model, optimizer)
    assert (model[0].weight != 0).all()


def test_nothing_keeps_a_dropped_model_alive():
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    held = hold(optimizer, model, random_mask(model))
    train(model, optimizer)
    gone = [weakref.ref(thing) for thing in (model[0].weight, optimizer, held)]
    del model, optimizer, held
    gc.collect()
    assert [thing() for thing in gone] == [None, None, None]
