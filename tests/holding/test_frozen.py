"""Weights that are frozen where they are instead of zeroed, and kept ones that train around them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.mask import Mask

from .networks import INTEGERS, backward, is_plus_zero, network, random_mask, train

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "sgd fused": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.5),
    "adamw fused": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.5, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True, weight_decay=0.1),
}


def values(model, seed=1):
    """What to freeze at: not what the model has, nor zero."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(weight.shape, generator=generator) for name, weight in model.named_parameters()}


def bits(tensor):
    return tensor.detach().contiguous().view(INTEGERS[tensor.itemsize])


def same_bits(first, second):
    return torch.equal(bits(first), bits(second))


class Partly(nn.Module):
    """The definition: kept entries are the model's, the others are constants that no gradient reaches."""

    def __init__(self, model, mask, at):
        super().__init__()
        self.model, self.mask, self.at = model, mask, at

    def weights(self):
        return {
            name: torch.where(self.mask[name], value, self.at[name]) if name in self.mask else value
            for name, value in self.model.named_parameters()
        }

    def forward(self, inputs):
        return torch.func.functional_call(self.model, self.weights(), (inputs,))


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_step_is_that_of_the_definition(make):
    """Frozen weights have their bits after each step, kept ones those of a loop that never trained the others."""
    model, other = network(), network()
    mask, at = random_mask(model), values(model)
    reference = Partly(other, mask, at)
    optimizer, by_hand = make(model.parameters()), make(other.parameters())
    with hold(optimizer, model, mask, at=at) as held:
        for step in range(8):
            train(model, optimizer, 1, step)
            train(reference, by_hand, 1, step)
            held.verify()
            for name, expected in reference.weights().items():
                weight = model.get_parameter(name)
                assert same_bits(weight, expected), (step, name)
                if name in mask:
                    assert same_bits(weight[~mask[name]], at[name][~mask[name]]), (step, name)
    assert not torch.equal(model[0].weight[mask["0.weight"]], network()[0].weight[mask["0.weight"]])


def test_weights_are_frozen_at_once():
    model = network()
    mask, at, before = random_mask(model), values(model), network().state_dict()
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask, at=at):
        for name, kept in mask.items():
            weight = model.get_parameter(name)
            assert same_bits(weight[~kept], at[name][~kept])
            assert same_bits(weight[kept], before[name][kept])


def test_frozen_weights_take_part_in_what_the_network_computes():
    """Their gradients are masked, those of what comes before them are not."""
    model = network()
    mask = Mask({"2.weight": torch.zeros(3, 7, dtype=torch.bool)})
    at = {"2.weight": torch.full((3, 7), 0.5)}
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask, at=at):
        backward(model)
        assert is_plus_zero(model[2].weight.grad)
        assert model[0].weight.grad.abs().max() > 0
        hidden = torch.tanh(model[0](torch.ones(1, 5)))
        torch.testing.assert_close(model(torch.ones(1, 5)) - model[2].bias, 0.5 * hidden.sum().expand(1, 3))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    density=st.floats(0, 1),
    decay=st.floats(0, 5),
    rate=st.floats(0, 2),
    maximise=st.booleans(),
    name=st.sampled_from(["Adam", "AdamW", "SGD", "RMSprop", "Adagrad"]),
)
def test_no_optimizer_moves_them(seed, density, decay, rate, maximise, name):
    model = network()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=rate, weight_decay=decay, maximize=maximise)
    train(model, optimizer, 2, seed)
    mask, at = random_mask(model, density, seed), values(model, seed)
    with hold(optimizer, model, mask, at=at) as held:
        train(model, optimizer, 2, seed)
        held.verify()
        for parameter, kept in mask.items():
            assert same_bits(model.get_parameter(parameter)[~kept], at[parameter][~kept])
            for entry in optimizer.state[model.get_parameter(parameter)].values():
                if entry.shape == kept.shape:
                    assert is_plus_zero(entry[~kept])


@pytest.mark.parametrize("hard", [-0.0, 1e-45, 3.0e38, float("inf")])
def test_hard_values_keep_their_bits(hard):
    model = nn.ParameterDict({"w": nn.Parameter(torch.ones(4))})
    mask, at = Mask({"w": torch.tensor([True, False, True, False])}), {"w": torch.full((4,), hard)}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    with hold(optimizer, model, mask, at=at) as held:
        for _ in range(2):
            model["w"].grad = torch.ones(4)
            optimizer.step()
        held.verify()
    assert same_bits(model["w"][1::2], at["w"][1::2])
    assert model["w"][0] < 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_values_take_the_type_of_the_weights(dtype):
    model = network().to(dtype)
    mask, at = random_mask(model), values(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with hold(optimizer, model, mask, at=at) as held:
        model(torch.ones(2, 5, dtype=dtype)).sum().backward()
        optimizer.step()
        held.verify()
    assert same_bits(model[0].weight[~mask["0.weight"]], at["0.weight"].to(dtype)[~mask["0.weight"]])


def test_channels_last():
    model = nn.Sequential(nn.Conv2d(3, 4, 3)).to(memory_format=torch.channels_last)
    mask, at = Mask({"0.weight": torch.rand(4, 3, 3, 3) < 0.5}), {"0.weight": torch.randn(4, 3, 3, 3)}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)
    with hold(optimizer, model, mask, at=at) as held:
        model(torch.randn(2, 3, 5, 5)).square().mean().backward()
        optimizer.step()
        held.verify()
    assert same_bits(model[0].weight[~mask["0.weight"]], at["0.weight"][~mask["0.weight"]])


def test_values_are_copied():
    model = network()
    mask, at = random_mask(model), values(model)
    expected = {name: value.clone() for name, value in at.items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with hold(optimizer, model, mask, at=at) as held:
        for value in at.values():
            value.zero_()
        train(model, optimizer)
        held.verify()
    assert same_bits(model[0].weight[~mask["0.weight"]], expected["0.weight"][~mask["0.weight"]])


def test_freezing_at_the_live_weights():
    """As one would write it; the weights given are the very ones that training writes to."""
    model = network()
    before, mask = network().state_dict(), random_mask(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with hold(optimizer, model, mask, at=dict(model.named_parameters())):
        train(model, optimizer)
    for name, kept in mask.items():
        assert same_bits(model.get_parameter(name)[~kept], before[name][~kept])
        assert not torch.equal(model.get_parameter(name)[kept], before[name][kept])


def test_another_mask_freezes_other_weights_at_the_same_values():
    model = network()
    first, second, at = random_mask(model, seed=1), random_mask(model, seed=2), values(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with hold(optimizer, model, first, at=at) as held:
        train(model, optimizer)
        trained = model[0].weight.detach().clone()
        held.update(second)
        kept, new = first["0.weight"], second["0.weight"]
        assert same_bits(model[0].weight[~new], at["0.weight"][~new])
        assert same_bits(model[0].weight[new & ~kept], at["0.weight"][new & ~kept])  # they train on from there
        assert same_bits(model[0].weight[new & kept], trained[new & kept])
        train(model, optimizer)
        held.verify()
        assert same_bits(model[0].weight[~new], at["0.weight"][~new])


def test_dense_gradients_move_nothing():
    model = network()
    mask, at = random_mask(model), values(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    with hold(optimizer, model, mask, at=at) as held:
        with held.dense_gradients():
            backward(model)
            assert model[0].weight.grad[~mask["0.weight"]].abs().max() > 0
            optimizer.step()
        held.verify()


@pytest.mark.parametrize("value", [0.0, float("nan"), 1.0000001])
def test_verify_finds_one_frozen_weight_that_moved(value):
    model = network()
    mask = random_mask(model)
    at = {name: torch.ones_like(weight) for name, weight in values(model).items()}
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask, at=at) as held:
        held.verify()
        row, column = (~mask["2.weight"]).nonzero()[0].tolist()
        with torch.no_grad():
            model[2].weight[row, column] = value
        with pytest.raises(PrunusError, match=r"2\.weight: 1 pruned weights are not as frozen"):
            held.verify()


def test_verify_tells_minus_zero_from_zero():
    model = network()
    mask, at = random_mask(model), {name: torch.zeros_like(value) for name, value in values(model).items()}
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask, at=at) as held:
        with torch.no_grad():
            model[2].weight.neg_()
        with pytest.raises(PrunusError, match=rf"2\.weight: {int((~mask['2.weight']).sum())} pruned weights"):
            held.verify()


def test_released_weights_train():
    model = network()
    mask, at = random_mask(model), values(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with hold(optimizer, model, mask, at=at):
        train(model, optimizer, 1)
    train(model, optimizer, 1)
    assert (model[0].weight[~mask["0.weight"]] != at["0.weight"][~mask["0.weight"]]).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda at: at.pop("2.weight"), r"no values to freeze at: \['2\.weight'\]"),
        (lambda at: at.clear(), r"no values to freeze at: \['0\.weight', '2\.weight'\]"),
        (
            lambda at: at.update({"0.weight": torch.ones(5, 7)}),
            r"0\.weight: frozen values \(5, 7\) != weight \(7, 5\)",
        ),
        (lambda at: at.update({"2.weight": torch.ones(())}), r"2\.weight: frozen values \(\) != weight \(3, 7\)"),
    ],
)
def test_values_that_do_not_fit_are_refused(change, sentence):
    model = network()
    at, before = values(model), network().state_dict()
    change(at)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(PrunusError, match=sentence):
        hold(optimizer, model, random_mask(model), at=at)
    assert all(same_bits(value, before[name]) for name, value in model.state_dict().items())
    train(model, optimizer, 1)
    assert (model[0].weight != before["0.weight"]).all(), "and nothing is held"


def test_values_of_other_tensors_do_no_harm():
    model = network()
    mask = Mask({"0.weight": random_mask(model)["0.weight"]})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with hold(optimizer, model, mask, at=values(model) | {"elsewhere": torch.ones(2)}):
        train(model, optimizer)
    assert (model[2].weight != network()[2].weight).all()
