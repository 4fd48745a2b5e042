"""Channels that are joined live and die together; layers that are shared keep their shape."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from prunus.mask import Mask
from prunus.shrinking import shrink

from .networks import check_same, drawn

ADDITIONS = {
    "+": lambda a, b: a + b,
    "torch.add": torch.add,
    "add": lambda a, b: a.add(b),
    "+=": lambda a, b: a.clone().__iadd__(b),
    "scaled": lambda a, b: torch.add(a, b, alpha=0.5),
    "gated": lambda a, b: a * torch.sigmoid(b),
}


class Fork(nn.Module):
    """Two layers side by side, joined by `join`, and one after them."""

    def __init__(self, join):
        super().__init__()
        self.left, self.right, self.after = nn.Linear(3, 5), nn.Linear(3, 5), nn.Linear(5, 2)
        self.join = join

    def forward(self, x):
        return self.after(F.relu(self.join(self.left(x), self.right(x))))


@pytest.mark.parametrize("join", ADDITIONS.values(), ids=ADDITIONS)
def test_a_unit_goes_only_if_dead_on_both_sides(join):
    model = drawn(Fork(join))
    mask = Mask.dense(model)
    mask["left.weight"][[0, 1, 2]] = False
    mask["right.weight"][[1, 2, 3]] = False
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    rest = [0, 3, 4]
    assert torch.equal(small.left.weight, (model.left.weight * mask["left.weight"])[rest])
    assert torch.equal(small.right.weight, (model.right.weight * mask["right.weight"])[rest])
    assert small.after.in_features == 3


def test_units_joined_to_inputs_stay():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.after = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.after(x + self.inner(x))

    model = drawn(Skip())
    mask = Mask.dense(model)
    mask["inner.weight"][1] = False
    mask["after.weight"][:, 1] = False
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    assert small.inner.out_features == 3


def test_outputs_stay():
    model = drawn(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.LogSoftmax(1)))
    mask = Mask.dense(model)
    mask["2.weight"][2] = False
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    assert small[2].out_features == 5


def test_what_goes_through_softmax_stays():
    model = drawn(nn.Sequential(nn.Linear(3, 4), nn.Softmax(1), nn.Linear(4, 2)))
    mask = Mask.dense(model)
    mask["0.weight"][1] = False
    mask["2.weight"][:, 2] = False
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    assert small[0].out_features == 4


def test_a_constant_that_is_kept_for_one_reader_stays_the_same_for_the_others():
    """`early` has no place for unit 0 of the trunk, so it stays; then `late` needs the constant that `inner` adds."""

    class Trunk(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.early, self.inner = nn.Linear(3, 4), nn.Linear(4, 2, bias=False), nn.Linear(3, 5)
            self.out, self.late = nn.Linear(5, 4, bias=False), nn.Linear(4, 2)

        def forward(self, x):
            trunk = self.stem(x)
            early = self.early(trunk)
            return early + self.late(trunk + self.out(torch.sigmoid(self.inner(x))))

    model = drawn(Trunk())
    mask = Mask.dense(model)
    mask["stem.weight"][0] = False
    mask["inner.weight"][[1, 2]] = False
    mask["out.weight"][:, [1, 2]] = False
    mask["out.weight"][0] = torch.arange(5) == 1  # unit 0 of the trunk is still constant, by unit 1 alone
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    assert (small.stem.out_features, small.inner.out_features) == (4, 4)


class Repeated(nn.Module):
    """`inner` is called twice, between two layers of its own."""

    def __init__(self):
        super().__init__()
        self.before, self.inner, self.after = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.after(self.inner(torch.relu(self.inner(self.before(x)))))


class Shared(nn.Module):
    """Two layers with one weight; another two around them."""

    def __init__(self):
        super().__init__()
        self.before, self.inner, self.twin, self.after = (
            nn.Linear(*sizes) for sizes in ((3, 4), (4, 4), (4, 4), (4, 2))
        )
        self.twin.weight = self.inner.weight

    def forward(self, x):
        return self.after(self.twin(torch.relu(self.inner(self.before(x)))))


@pytest.mark.parametrize("network", [Repeated, Shared])
def test_shared_layers_keep_their_shape_and_stay_shared(network):
    model = drawn(network())
    mask = Mask.dense(model)
    mask["inner.weight"][1] = False
    mask["inner.weight"][:, 1] = False
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    assert small.inner.weight.shape == (4, 4)
    assert len(list(small.parameters())) == len(list(model.parameters()))


def test_flattened_maps_go_with_all_their_pixels():
    class Viewed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4 * 9, 2)

        def forward(self, images):
            maps = torch.relu(self.conv(images))
            return self.fc(maps.view(maps.size(0), -1))

    model = drawn(Viewed())
    mask = Mask.dense(model)
    mask["fc.weight"][:, 9:18] = False  # all pixels of map 1
    mask["fc.weight"][:, 18:26] = False  # all but one of map 2
    small = shrink(model, mask, example=torch.randn(2, 1, 5, 5))
    check_same(model, mask, small, (3, 1, 5, 5))
    assert torch.equal(small.conv.weight, model.conv.weight[[0, 2, 3]])
    assert small.fc.in_features == 27


def test_channels_added_by_padding_stay():
    class Wider(nn.Module):
        def __init__(self):
            super().__init__()
            self.narrow, self.wide, self.after = nn.Linear(3, 4), nn.Linear(3, 7), nn.Linear(7, 2)

        def forward(self, x):
            return self.after(F.pad(self.narrow(x), (1, 2), value=0.5) + self.wide(x))

    model = drawn(Wider())
    mask = Mask.dense(model)
    mask["narrow.weight"][[0, 1]] = False
    mask["wide.weight"][[0, 1, 3, 6]] = False  # 0 and 6 are joined to padding, 1 to dead 0 and 3 to live 2
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    assert (small.narrow.out_features, small.wide.out_features) == (3, 6)
