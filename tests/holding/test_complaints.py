"""Bugs of other tools, by the complaint."""

import copy
import pickle

import pytest
import torch

from prunus.holding import hold
from prunus.snapshot import Snapshot

from .networks import backward, network, random_mask, train


def test_keys_stay_and_load_into_a_plain_network():
    model, plain = network(), network()
    keys, objects, classes = list(model.state_dict()), list(model.parameters()), [type(m) for m in model.modules()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with hold(optimizer, model, random_mask(model)):
        train(model, optimizer)
        assert list(model.state_dict()) == keys
        assert all(a is b for a, b in zip(model.parameters(), objects, strict=True))
        assert [type(m) for m in model.modules()] == classes
        plain.load_state_dict(model.state_dict(), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_can_be_made_after_forward_and_backward_and_are_free(duplicate):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with hold(optimizer, model, random_mask(model)) as held:
        train(model, optimizer)
        backward(model)
        twin = duplicate(model)
        assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), model.parameters(), strict=True))
        train(twin, torch.optim.SGD(twin.parameters(), lr=0.1))
        assert (twin[0].weight != 0).all()
        held.verify()


def test_momentum_and_decay_do_not_revive_pruned_weights():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.99, weight_decay=0.1)
    train(model, optimizer, 10)
    with hold(optimizer, model, random_mask(model)) as held:
        for _ in range(10):
            train(model, optimizer, 1)
            held.verify()


def test_a_resumed_run_equals_the_undisturbed_one(tmp_path):
    def start():
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        return model, optimizer, hold(optimizer, model, random_mask(model, 0.8))

    def finish(model, optimizer, held):
        train(model, optimizer, 3, seed=10)
        held.update(held.mask & random_mask(model, 0.5, seed=3))
        train(model, optimizer, 3, seed=20)
        held.verify()
        return model.state_dict()

    model, optimizer, held = start()
    train(model, optimizer)
    held.update(random_mask(model, 0.6, seed=7))  # some pruned, some regrown
    train(model, optimizer)
    Snapshot.take(model, optimizer, extra={"held": held.state_dict()}).save(tmp_path / "s")
    undisturbed = finish(model, optimizer, held)

    model, optimizer, held = start()
    snapshot = Snapshot.load(tmp_path / "s")
    snapshot.restore(model, optimizer)
    held.load_state_dict(snapshot.extra["held"])
    resumed = finish(model, optimizer, held)
    assert all(torch.equal(value, resumed[name]) for name, value in undisturbed.items())


def test_no_hook_runs_in_the_forward_pass():
    model = network()
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, random_mask(model)):
        for module in model.modules():
            assert not module._forward_pre_hooks
            assert not module._forward_hooks
            assert not module._backward_hooks
            assert not module._backward_pre_hooks
