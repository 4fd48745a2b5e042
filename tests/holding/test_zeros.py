"""Pruned weights stay zero and kept ones train as if nothing were held."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.mask import Mask

from .networks import INTEGERS, backward, is_plus_zero, network, random_mask, train


class Masked(nn.Module):
    """The textbook definition: what the network computes with weights x mask."""

    def __init__(self, model, mask):
        super().__init__()
        self.model, self.mask = model, mask

    def forward(self, x):
        weights = {n: p * self.mask[n] if n in self.mask else p for n, p in self.model.named_parameters()}
        return torch.func.functional_call(self.model, weights, (x,))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
        lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=1e-2, amsgrad=True),
        lambda p: torch.optim.AdamW(p, lr=0.01),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
        lambda p: torch.optim.Rprop(p, lr=0.01),
    ],
)
def test_kept_weights_train_as_the_definition_says(make):
    """Element by element, the kept weights of weights x mask, trained by the same optimizer, bit for bit."""
    model, other = network(), network()
    mask = random_mask(model)
    reference = Masked(other, mask)
    optimizer = make(model.parameters())
    with hold(optimizer, model, mask):
        train(model, optimizer, 6)
    train(reference, make(other.parameters()), 6)
    for name, weight in other.named_parameters():
        expected = torch.where(mask[name], weight, 0) if name in mask else weight
        assert torch.equal(model.get_parameter(name), expected), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_pruned_entries_become_plus_zero_and_kept_ones_keep_their_bits(dtype):
    hard = [-0.0, -1.5, float("nan"), float("inf"), -float("inf"), 1e-7, 0.0, 3.0]
    weight = nn.Parameter(torch.tensor([hard, hard], dtype=dtype))
    model = nn.ParameterDict({"w": weight})
    kept = torch.tensor([[True] * 8, [False] * 8])
    before = weight.detach().clone()
    integer = INTEGERS[weight.itemsize]
    with hold(torch.optim.SGD([weight], lr=0.1), model, Mask({"w": kept})):
        assert torch.equal(weight[0].view(integer), before[0].view(integer))
        assert is_plus_zero(weight[1])
        weight.backward(before)  # a gradient as hard as the weights
        assert torch.equal(weight.grad[0].view(integer), before[0].view(integer))
        assert is_plus_zero(weight.grad[1])


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1000),
    density=st.floats(0, 1),
    maximise=st.booleans(),
    decay=st.floats(0, 5),
    rate=st.floats(0, 2),
)
def test_pruned_weights_and_momentum_stay_zero(seed, density, maximise, decay, rate):
    """Also where decay overshoots and the sign of a zero would flip."""
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, maximize=maximise)
    train(model, optimizer, 2, seed)
    mask = random_mask(model, density, seed)
    with hold(optimizer, model, mask) as held:
        train(model, optimizer, 2, seed)
        held.verify()
        for name, kept in mask.items():
            assert is_plus_zero(model.get_parameter(name)[~kept])


def test_weights_written_between_steps_are_cleared_by_the_next():
    model, dense = network(), network().state_dict()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with hold(optimizer, model, random_mask(model)) as held:
        model.load_state_dict(dense)
        with pytest.raises(PrunusError, match=r"0\.weight: \d+ pruned weights are not zero"):
            held.verify()
        train(model, optimizer, 1)
        held.verify()
        model[0].weight.data = torch.randn(7, 5)  # other memory under the same parameter
        train(model, optimizer, 1)
        held.verify()


@pytest.mark.parametrize("value", [-0.0, 1e-30, float("nan")])
def test_verify_finds_one_weight(value):
    model = network()
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, random_mask(model)) as held:
        held.verify()
        row, column = (~held.mask["2.weight"]).nonzero()[0].tolist()
        with torch.no_grad():
            model[2].weight[row, column] = value
        with pytest.raises(PrunusError, match=r"2\.weight: 1 pruned weights"):
            held.verify()


def test_verify_finds_one_entry_of_the_optimizer():
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    with hold(optimizer, model, random_mask(model)) as held:
        train(model, optimizer)
        row, column = (~held.mask["2.weight"]).nonzero()[0].tolist()
        optimizer.state[model[2].weight]["exp_avg_sq"][row, column] = 1e-30
        with pytest.raises(PrunusError, match=r"2\.weight: the optimizer's exp_avg_sq is not zero at 1"):
            held.verify()


def test_two_optimizers_hold_a_part_each():
    model, mask = network(), random_mask(network())
    muon = torch.optim.Muon([model[0].weight], lr=0.1)
    rest = torch.optim.AdamW([p for p in model.parameters() if p is not model[0].weight], lr=0.1)
    with (
        hold(muon, model, Mask({"0.weight": mask["0.weight"]})) as first,
        hold(rest, model, Mask({"2.weight": mask["2.weight"]})) as second,
    ):
        for _ in range(3):
            model.zero_grad()
            backward(model)
            muon.step()
            rest.step()
        first.verify()
        second.verify()
