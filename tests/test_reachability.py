"""Entries on a path from an input to an output, against a search through the units one by one."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.models import build
from prunus.reachability import collapsed, effective


def mask_of(model, density, seed):
    generator = torch.Generator().manual_seed(seed)
    return Mask(
        {
            name: torch.rand(value.shape, generator=generator) < density
            for name, value in model.named_parameters()
            if value.ndim >= 2
        }
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), st.floats(0.1, 0.9), st.integers(0, 99))
def test_every_path_of_a_network_one_by_one(sizes, density, seed):
    layers = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    model = nn.Sequential(*layers[:-1])
    mask = mask_of(model, density, seed)
    kept = list(mask.values())
    on_a_path = set()
    for path in itertools.product(*map(range, sizes)):
        entries = [(layer, path[layer + 1], path[layer]) for layer in range(len(kept))]
        if all(kept[layer][row, column] for layer, row, column in entries):
            on_a_path.update(entries)
    found = list(effective(model, mask, torch.zeros(1, sizes[0])).values())
    assert {(k, *map(int, place)) for k, one in enumerate(found) for place in one.nonzero()} == on_a_path
    dead = [name for k, name in enumerate(mask) if not any(entry[0] == k for entry in on_a_path)]
    assert collapsed(model, mask, torch.zeros(1, sizes[0])) == dead


class Convolutional(nn.Module):
    """Two convolutions with BatchNorm, one gone around, a maximum, a linear layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.last = nn.Linear(3, 2)

    def forward(self, images):
        images = F.relu(self.norm(self.first(images)))
        images = images + F.relu(self.second(images))
        return self.last(F.max_pool2d(images, 2).flatten(1))


@pytest.mark.parametrize("density", [0.1, 0.2, 0.4, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_convolutions_pixel_by_pixel(density, seed):
    """Oracle: pixels as units, kernels written out as edges of a graph, reached forwards and backwards by sets."""
    model = Convolutional()
    with torch.no_grad():
        model.norm.running_mean.fill_(5)
        model.norm.weight.fill_(-1)
    mask = mask_of(model, density, seed)
    edges = []  # (from, to, entry or None)
    pixels = list(itertools.product(range(2), range(2)))
    offsets = list(itertools.product(range(3), range(3)))
    for name, sources, source, target in (("first", 1, "in", "a"), ("second", 3, "a", "b")):
        for o, i, (y, x), (dy, dx) in itertools.product(range(3), range(sources), pixels, offsets):
            if mask[f"{name}.weight"][o, i, dy, dx] and (y + dy - 1, x + dx - 1) in pixels:
                edges.append(((source, i, y + dy - 1, x + dx - 1), (target, o, y, x), (f"{name}.weight", o, i, dy, dx)))
    for c, (y, x) in itertools.product(range(3), pixels):
        edges += [((part, c, y, x), ("pooled", c), None) for part in "ab"]
    edges += [(("pooled", i), ("out", o), ("last.weight", o, i)) for o in range(2) for i in range(3)]
    edges = [edge for edge in edges if edge[2] is None or mask[edge[2][0]][edge[2][1:]]]
    forwards = {("in", 0, y, x) for y, x in pixels}
    backwards = {("out", o) for o in range(2)}
    for _ in range(5):
        forwards |= {to for source, to, _ in edges if source in forwards}
        backwards |= {source for source, to, _ in edges if to in backwards}
    expected = {entry for source, to, entry in edges if entry and source in forwards and to in backwards}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = effective(model, mask, torch.zeros(1, 1, 2, 2))
    assert {(name, *map(int, place)) for name, one in found.items() for place in one.nonzero()} == expected
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())


def test_a_deep_network_is_alive_in_full_and_cut_by_one_tensor():
    model = build("resnet-20", seed=0)
    example = torch.zeros(1, 3, 32, 32)
    mask = Mask.dense(model)
    assert effective(model, mask, example) == mask
    names = list(mask)
    without = Mask({name: kept & (name != names[1]) for name, kept in mask.items()})
    assert collapsed(model, without, example) == names[1:3]  # the block's other one too, but there is a way around it
    without = Mask({name: kept & (name != names[0]) for name, kept in mask.items()})
    assert collapsed(model, without, example) == names


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), r"through '1', a LayerNorm, cannot be followed"),
        (nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3, elementwise_affine=False)), "through layer_norm cannot be"),
        (nn.Sequential(nn.Linear(3, 3), nn.Sigmoid()), "Sequential gives something for an input of zeros"),
    ],
)
def test_what_cannot_be_followed(model, sentence):
    with pytest.raises(PrunusError, match=sentence):
        effective(model, Mask({"0.weight": torch.ones(3, 3, dtype=torch.bool)}), torch.zeros(1, 3))
    with pytest.raises(PrunusError, match="not among the weights of Sequential: other"):
        effective(model, Mask({"other": torch.ones(3, 3, dtype=torch.bool)}), torch.zeros(1, 3))
