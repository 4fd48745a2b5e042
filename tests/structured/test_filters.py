"""Li's filters: both strategies by hand, on a plain and on a residual network."""

import pytest
import torch

from prunus.errors import PrunusError
from prunus.models.description import Description
from prunus.pattern import channel
from prunus.pruning import prune
from prunus.scope import count, given, overall, tensor, together
from prunus.score import magnitude
from prunus.shrinking import shrink, spread, wiring
from prunus.structured import prune_greedily
from prunus.tree import weights

from ..shrinking.networks import Residual, Separable, check_same, convolutional, drawn


def plain():
    return drawn(convolutional(padding=1)), (2, 2, 8, 8)


def smallest(sums, density):
    """Which filters go: sorted by sum, the later of two equal ones first."""
    order = sorted(range(len(sums)), key=lambda j: (sums[j], -j))
    return set(order[: len(sums) - count(density, len(sums))])


def by_hand(model, densities, greedy):
    """The filters that go from each layer of the plain network, kernel by kernel."""
    gone, before = {}, set()
    places = 16  # that a map of the second convolution has behind flatten
    for name, weight in weights(model).items():
        if name == "8.weight" and greedy:
            before = {places * j + k for j in before for k in range(places)}
        sums = []
        for row in weight.detach():
            kernels = [float(kernel.abs().sum()) for i, kernel in enumerate(row) if not greedy or i not in before]
            sums.append(sum(kernels))
        gone[name] = before = smallest(sums, densities[name]) if name in densities else set()
    return gone


@pytest.mark.parametrize("greedy", [False, True], ids=["independent", "greedy"])
@pytest.mark.parametrize("seed", range(4))
def test_strategies_on_a_plain_network(greedy, seed):
    model, shape = drawn(convolutional(padding=1), seed), (2, 2, 8, 8)
    densities = {"0.weight": 0.5, "4.weight": 0.6, "8.weight": 0.4}
    found = wiring(model, example=torch.zeros(shape))
    if greedy:
        mask = prune_greedily(model, densities, found)
    else:
        own = {name: numbers.float() for name, numbers in found.outputs.items() if name in densities}
        scope = together(found.outputs, given(densities))
        mask = prune(model, magnitude, overall(densities, own), pattern=channel(0), scope=scope)
        mask = spread(mask, found)
    expected = by_hand(model, densities, greedy)
    for name, kept in mask.items():
        assert set((~kept.flatten(1).any(1)).nonzero().flatten().tolist()) == expected[name]
    small = shrink(model, mask, example=torch.zeros(shape))
    check_same(model, mask, small, shape)
    assert [len(w) for w in weights(small).values()] == [3, 3, 3, 3]
    assert sum(w.numel() for w in weights(small).values()) == mask.kept


def test_greedy_differs_from_independent():
    assert any(
        by_hand(drawn(convolutional(padding=1), seed), {"0.weight": 0.5, "4.weight": 0.6}, True)
        != by_hand(drawn(convolutional(padding=1), seed), {"0.weight": 0.5, "4.weight": 0.6}, False)
        for seed in range(4)
    )


def test_a_trunk_is_decided_by_its_first_layer():
    """Li et al.: what a shortcut adds to follows; inside of blocks each layer decides for itself."""
    model, shape = drawn(Residual()), (2, 3, 6, 6)
    found = wiring(model, example=torch.zeros(shape))
    densities = {"stem.weight": 0.5, "into.0.weight": 0.4, "out.0.weight": 0.1, "out.1.weight": 0.1}
    mask = prune_greedily(model, densities, found)
    trunk = smallest(model.stem.weight.detach().abs().sum((1, 2, 3)).tolist(), 0.5)
    inner = model.into[0].weight.detach()[:, [i for i in range(6) if i not in trunk]]
    for name, expected in {
        "stem.weight": trunk,
        "out.0.weight": trunk,
        "out.1.weight": trunk,
        "into.0.weight": smallest(inner.abs().sum((1, 2, 3)).tolist(), 0.4),
        "into.1.weight": set(),
    }.items():
        assert set((~mask[name].flatten(1).any(1)).nonzero().flatten().tolist()) == expected
    small = shrink(model, mask, example=torch.zeros(shape))
    check_same(model, mask, small, shape)
    assert [len(w) for w in weights(small).values()] == [3, 2, 5, 3, 3, 4]


def test_whole_channels_of_a_resnet_go_with_their_trunk():
    """ResNet-20 with 1x1 maps at the end: the first stage's trunk, joined to the others by padding, goes too."""
    model = Description("resnet-20", (3, 8, 8), 10).make()
    shape = (2, 3, 8, 8)
    found = wiring(model, example=torch.zeros(shape))
    densities = {n: 0.5 for n in found.outputs if n == "conv1.weight" or (n.startswith("layer") and "conv1" in n)}
    mask = prune_greedily(model, densities, found)
    small = shrink(model, mask, example=torch.zeros(shape))
    check_same(model, mask, small, shape)
    assert small.conv1.weight.shape[0] == 8
    assert small.layer1[2].conv2.weight.shape == (8, 8, 3, 3)
    assert small.layer2[0].conv2.weight.shape == (32 - 8, 16, 3, 3)
    assert small.linear.in_features == 64 - 8
    assert sum(w.numel() for w in weights(small).values()) == mask.kept


def test_depthwise_kernels_follow():
    model, shape = drawn(Separable()), (2, 3, 6, 6)
    found = wiring(model, example=torch.zeros(shape))
    mask = prune_greedily(model, {"wide.weight": 0.5, "stem.weight": 0.5}, found)
    small = shrink(model, mask, example=torch.zeros(shape))
    check_same(model, mask, small, shape)
    assert small.depth.groups == len(small.depth.weight) == 4
    assert small.last.groups == 3
    same = prune(model, magnitude, 0.5, pattern=channel(0), scope=together(found.outputs, tensor))
    assert int(same["depth.weight"].sum()) == 4 * 9


def test_refusals():
    model, shape = plain()
    found = wiring(model, example=torch.zeros(shape))
    with pytest.raises(PrunusError, match=r"no layer makes channels with 3\.weight"):
        prune_greedily(model, {"3.weight": 0.5}, found)
    with pytest.raises(PrunusError, match=r"0\.weight: nothing of its 108 weights would be kept"):
        prune_greedily(model, {"0.weight": 0.01}, found)
