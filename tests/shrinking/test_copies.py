"""What comes back is a plain network of its own: same class and names, other sizes."""

import copy

import pytest
import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.shrinking import shrink, shrink_to_fit

from .networks import channel_mask, check_same, convolutional, drawn, perceptron

IMAGES = (2, 2, 8, 8)


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_nothing_to_remove_gives_an_equal_copy():
    model = drawn(convolutional())
    small = shrink(model, example=torch.randn(IMAGES))
    assert small is not model
    assert list(small.state_dict()) == list(model.state_dict())
    assert all(torch.equal(tensor, small.state_dict()[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        for tensor in small.state_dict().values():
            tensor.zero_()
    assert all(parameter.any() for parameter in model.parameters())


def test_the_network_stays_as_it_is():
    model = drawn(convolutional())
    before = copy.deepcopy(model)
    example = torch.randn(IMAGES)
    seen, state = example.clone(), torch.get_rng_state()
    shrink(model, channel_mask(model, 0.5), example=example)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(example, seen)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_an_example_is_not_overwritten_by_a_network_that_does_so():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    example = torch.randn(2, 3)
    seen = example.clone()
    shrink(model, channel_mask(model, 0.5), example=example)
    assert torch.equal(example, seen)


def test_modes_gradients_and_layout_are_kept():
    model = drawn(convolutional()).to(memory_format=torch.channels_last)
    model[4].weight.requires_grad_(False)
    model[1].eval()
    small = shrink(model, channel_mask(model, 0.6), example=torch.randn(IMAGES))
    assert small[4].weight.shape != model[4].weight.shape
    assert [module.training for module in small.modules()] == [module.training for module in model.modules()]
    assert [p.requires_grad for p in small.parameters()] == [p.requires_grad for p in model.parameters()]
    assert small[4].weight.is_contiguous(memory_format=torch.channels_last)
    assert not small[4].weight.is_contiguous()


def test_sizes_in_the_layers_are_those_of_their_weights():
    model = drawn(convolutional())
    small = shrink(model, channel_mask(model, 0.5), example=torch.randn(IMAGES))
    assert shapes(small) != shapes(model)
    assert (small[0].out_channels, small[4].in_channels) == (len(small[0].weight), small[4].weight.shape[1])
    assert (small[8].in_features, small[8].out_features) == tuple(small[8].weight.shape)[::-1]
    assert small[1].num_features == len(small[1].weight) == len(small[1].running_var)


def test_it_trains_saves_and_copies_like_any_other(tmp_path):
    model = drawn(convolutional())
    small = shrink(model, channel_mask(model, 0.5), example=torch.randn(IMAGES))
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    before = copy.deepcopy(small)
    small(torch.randn(IMAGES)).square().mean().backward()
    optimizer.step()
    assert not torch.equal(small[0].weight, before[0].weight)
    torch.save(small.state_dict(), tmp_path / "small.pt")
    before.load_state_dict(torch.load(tmp_path / "small.pt", weights_only=True))
    assert torch.equal(small[0].weight, before[0].weight)


def test_a_held_network_gives_a_free_one():
    model = drawn(perceptron(3, 6, 2))
    mask = channel_mask(model, 0.5)
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask) as held:
        small = shrink(model, example=torch.randn(2, 3))
        small(torch.randn(2, 3)).sum().backward()
        held.verify()
    assert len(small[0].weight) == int(mask["0.weight"][:, 0].sum())


def test_shrinking_again_changes_nothing():
    model = drawn(convolutional())
    small = shrink(model, channel_mask(model, 0.5), example=torch.randn(IMAGES))
    again = shrink(small, example=torch.randn(IMAGES))
    assert shapes(again) == shapes(small)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype):
    model = drawn(perceptron(3, 8, 6, 2)).to(dtype)
    mask = channel_mask(model, 0.5)
    small = shrink(model, mask, example=torch.randn(2, 3, dtype=dtype))
    assert {parameter.dtype for parameter in small.parameters()} == {dtype}
    assert len(small[0].weight) == int(mask["0.weight"][:, 0].sum())


def test_inside_a_wrapper():
    model = drawn(perceptron(3, 8, 2))
    wrapped = nn.DataParallel(model, device_ids=[])
    small = shrink(wrapped, channel_mask(model, 0.5), example=torch.randn(2, 3))
    assert type(small) is nn.Sequential
    check_same(model, channel_mask(model, 0.5), small, (4, 3))


def test_fitting_to_what_was_saved():
    model = drawn(convolutional())
    mask = channel_mask(model, 0.5)
    small = shrink(model, mask, example=torch.randn(IMAGES))
    again = shrink_to_fit(convolutional(), small.state_dict())
    assert all(torch.equal(tensor, small.state_dict()[name]) for name, tensor in again.state_dict().items())
    check_same(model, mask, again, IMAGES)


def test_fitting_keeps_shared_weights_shared():
    model = nn.ModuleDict({"one": nn.Linear(4, 4), "two": nn.Linear(4, 4), "three": nn.Linear(4, 6)})
    model["two"].weight = model["one"].weight
    small = shrink_to_fit(model, {**model.state_dict(), "three.weight": torch.ones(2, 4), "three.bias": torch.ones(2)})
    assert small["two"].weight is small["one"].weight
    assert small["three"].out_features == 2


def test_windows_cannot_get_smaller():
    model = convolutional()
    with pytest.raises(PrunusError, match=r"4\.weight: shape \(5, 6, 3, 3\) != \(5, 6, 1, 1\)"):
        shrink_to_fit(model, {**model.state_dict(), "4.weight": torch.ones(5, 6, 1, 1)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"2.weight": torch.ones(2, 6)}, "2.weight"),  # larger
        ({"0.weight": torch.ones(5, 3, 1)}, "0.weight"),
        ({"0.weight": torch.ones(4, 3)}, "0.weight"),  # but five biases
        ({"3.weight": torch.ones(1)}, "unexpected 3.weight"),
    ],
)
def test_what_does_not_fit(change, words):
    model = perceptron(3, 5, 2)
    with pytest.raises(PrunusError, match=words):
        shrink_to_fit(model, {**model.state_dict(), **change})
    with pytest.raises(PrunusError, match=r"missing 2\.bias"):
        shrink_to_fit(model, {name: t for name, t in model.state_dict().items() if name != "2.bias"})
