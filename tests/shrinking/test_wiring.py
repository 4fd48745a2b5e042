"""Channels by number: each test perturbs a channel by hand and sees who reads it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.models.description import Description
from prunus.pattern import channel
from prunus.pruning import prune
from prunus.scope import tensor, together
from prunus.score import magnitude
from prunus.shrinking import alone, shrink, shrink_to_fit, spread, wiring
from prunus.tree import weights

from .networks import Concatenated, Residual, Separable, check_same, convolutional, count, drawn, masked

IMAGES = (2, 3, 6, 6)
NETWORKS = {
    "plain": (convolutional, (2, 2, 8, 8)),
    "residual": (Residual, IMAGES),
    "concatenation": (Concatenated, (2, 3, 8, 8)),
    "depthwise": (Separable, IMAGES),
    "depthwise without bias": (lambda: Separable(bias=False), IMAGES),
    "resnet-20": (lambda: Description("resnet-20", (3, 8, 8), 10).make(), (2, 3, 8, 8)),
}


def whole_channels(model, shape, density=0.5, scope=tensor):
    found = wiring(model, example=torch.zeros(shape))
    mask = prune(model, magnitude, density, pattern=channel(0), scope=together(found.outputs, scope))
    return found, mask


@pytest.mark.parametrize("case", NETWORKS)
def test_whole_channels_of_every_kind_go(case):
    """Everything that the mask prunes is gone: what is left is as many channels as the mask keeps."""
    make, shape = NETWORKS[case]
    model = drawn(make())
    found, mask = whole_channels(model, shape)
    final = spread(mask, found)
    small = shrink(model, final, example=torch.randn(shape))
    check_same(model, final, small, shape)
    check_same(model, final, shrink_to_fit(model, small.state_dict()), shape)
    assert count(small) < 0.8 * count(model)
    for name, weight in weights(small).items():
        kept = mask[name].flatten(1).any(1)
        assert len(weight) == int(kept.sum())
        if case != "resnet-20":  # its padding stays
            assert len(weight) < len(kept) or name == list(weights(model))[-1]
        assert int(final[name].sum()) == weight.numel()  # the density of the mask is the size of the network


@given(seed=st.integers(0, 999), density=st.sampled_from([0.3, 0.5, 0.8]), case=st.sampled_from(list(NETWORKS)[2:5]))
@settings(max_examples=25)
def test_any_mask_on_depthwise_and_concatenation(seed, density, case):
    make, shape = NETWORKS[case]
    model, generator = drawn(make(), seed), torch.Generator().manual_seed(seed)
    mask = Mask(
        {
            name: channel(0).entries(torch.rand(len(w), generator=generator) < density, w.shape)
            & channel(1).entries(torch.rand(w.shape[1], generator=generator) < 0.9, w.shape)
            for name, w in weights(model).items()
        }
    )
    check_same(model, mask, shrink(model, mask, example=torch.randn(shape)), shape)


@pytest.mark.parametrize("case", ["residual", "concatenation", "depthwise"])
def test_numbers_say_who_reads_a_channel(case):
    """Oracle: noise in all that makes a channel changes the output, but not where its readers are masked."""
    make, shape = NETWORKS[case]
    model = drawn(make()).eval()
    found = wiring(model, example=torch.zeros(shape))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    own = weights(model)

    def output(number, mask, noise):
        network = masked(model, Mask(mask))
        with torch.no_grad():
            for name, numbers in found.outputs.items():
                network.get_parameter(name)[numbers == number] += noise
            return network(x)

    numbers = torch.cat(list(found.outputs.values())).unique()
    for number in numbers[numbers >= 0].tolist():
        readers = {name: channel(1).entries(found.inputs[name] != number, own[name].shape) for name in found.inputs}
        assert torch.equal(output(number, readers, 0.0), output(number, readers, 1.0))
        assert not torch.equal(output(number, {}, 0.0), output(number, {}, 1.0))


def test_a_channel_dies_with_all_that_make_it():
    """One branch of a sum is not enough."""
    model = drawn(Residual())
    found = wiring(model, example=torch.zeros(IMAGES))
    dense = Mask.dense(model)
    trunk = found.outputs["stem.weight"]
    assert torch.equal(trunk, found.outputs["out.0.weight"])
    assert torch.equal(trunk, found.inputs["classifier.weight"])
    stem = Mask({**dense, "stem.weight": channel(0).entries(torch.arange(6) != 2, dense["stem.weight"].shape)})
    assert spread(stem, found) == stem
    branches = {n: channel(0).entries(torch.arange(6) != 2, dense[n].shape) for n in ("out.0.weight", "out.1.weight")}
    gone = spread(Mask({**stem, **branches}), found)
    for name in ("into.0.weight", "into.1.weight", "classifier.weight"):
        assert not gone[name][:, 2].any()
        assert gone[name][:, [0, 1, 3, 4, 5]].all()


def test_what_nothing_reads_takes_along_what_makes_it():
    """The mirror image: all readers of a trunk's channel prune it, then all branches do."""
    model = drawn(Residual())
    found = wiring(model, example=torch.zeros(IMAGES))
    dense = Mask.dense(model)
    readers = {
        name: channel(1).entries(torch.arange(6) != 2, dense[name].shape)
        for name in found.inputs
        if dense[name].shape[1] == 6
    }
    assert set(readers) == {"into.0.weight", "into.1.weight", "classifier.weight"}
    some = Mask({**dense, **{name: kept for name, kept in readers.items() if name != "into.1.weight"}})
    assert spread(some, found) == some
    gone = spread(Mask({**dense, **readers}), found)
    for name in ("stem.weight", "out.0.weight", "out.1.weight"):
        assert gone[name].flatten(1).any(1).tolist() == [True, True, False, True, True, True]


def test_what_must_stay_has_no_number():
    found = wiring(Residual(), example=torch.zeros(IMAGES))
    assert found.inputs["stem.weight"].tolist() == [-1, -1, -1]
    assert found.outputs["classifier.weight"].tolist() == [-1] * 4
    assert all((numbers >= 0).all() for name, numbers in found.outputs.items() if name != "classifier.weight")


def test_what_cannot_be_followed_is_refused_and_left_alone():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GroupNorm(2, 4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(PrunusError, match="GroupNorm at '1'"):
        wiring(model, example=torch.zeros(IMAGES))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(PrunusError, match=r"missing 0\.weight"):
        spread(Mask({}), wiring(model[:1], example=torch.zeros(IMAGES)))


def test_channels_that_one_layer_alone_reads():
    """In a residual network those inside of blocks; elsewhere all that may go, even where their readers differ."""
    make, shape = NETWORKS["resnet-20"]
    found = alone(wiring(make(), example=torch.zeros(shape)))
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)]
    for own, layer in ((found.outputs, "conv1"), (found.inputs, "conv2")):
        free = {name: int((numbers >= 0).sum()) for name, numbers in own.items() if (numbers >= 0).any()}
        assert free == {f"{block}.{layer}.weight": 16 << (int(block[5]) - 1) for block in blocks}
    make, shape = NETWORKS["plain"]
    whole = wiring(make(), example=torch.zeros(shape))
    assert all(torch.equal(numbers, whole.outputs[name]) for name, numbers in alone(whole).outputs.items())
