"""A random network in a file: it loads and runs by itself, and every weight in it is one that the seed gives."""

from math import log2

import pytest
import torch

import prunus
from prunus import draws, models, pack
from prunus.construction import (
    approximate,
    diamond,
    golden_series,
    linear,
    linear_by_row,
    nearest_subset,
    smallest_subset,
)
from prunus.construction.parts import RandomNetwork
from prunus.errors import FormatError

from .oracle import Given, perceptron


def test_it_loads_and_runs(tmp_path):
    target = models.from_description("lenet-5(1x8x8,3)")
    x = torch.randn(2, 1, 8, 8)
    for structure in (linear, diamond):
        pruned = approximate(target, 10, 0.05, structure=structure, choose=smallest_subset).pruned()
        prunus.save(pruned, tmp_path / "random.prunus")
        loaded = prunus.load(tmp_path / "random.prunus")
        assert isinstance(loaded, RandomNetwork)
        assert str(loaded) == str(pruned)
        assert loaded(x).equal(pruned(x))


@pytest.mark.parametrize("structure", [linear, diamond])
@pytest.mark.parametrize("choose", [nearest_subset, smallest_subset, golden_series])
def test_a_file_holds_a_seed_and_a_mask_and_nothing_else(structure, choose, tmp_path):
    target = models.from_description("lenet-5(1x8x8,3)")
    found = approximate(target, 12, 0.004, seed=2**40, structure=structure, choose=choose)
    pruned, file = found.pruned(), tmp_path / "random.prunus"
    contents = prunus.save(pruned, file, effort="fast", drawn=found.drawn())
    assert pack.drawn(file) == found.drawn()
    assert [(one.seed, one.stream) for one in found.drawn().values()] == [(2**40, n) for n in range(len(found.mask))]
    assert [stored.name for stored in contents.tensors if stored.codec == "drawn"] == list(found.mask)
    loaded = prunus.load(file)
    for name, weight in pruned.state_dict().items():
        assert loaded.state_dict()[name].view(torch.int32).equal(weight.view(torch.int32))
    x = torch.randn(2, 1, 8, 8)
    assert loaded(x).equal(pruned(x))
    model = 140  # bytes for how it was drawn and how its runs of zeros are coded
    for stored, share in zip(contents.tensors, found.mask.densities().values(), strict=True):
        entropy = -(share * log2(share) + (1 - share) * log2(1 - share)) * found.mask[stored.name].numel() / 8
        assert stored.bytes < 1.15 * entropy + model


def test_what_no_seed_gives_is_stored_as_it_is(tmp_path):
    repeated = approximate(perceptron(5, 4, 3), 8, 0.1, structure=linear_by_row)
    own = approximate(perceptron(2, 1), 3, 0.1, weights=Given([torch.linspace(-1, 1, 9)]))
    for found in (repeated, own):
        assert found.drawn() == {}
        prunus.save(found.pruned(), tmp_path / "random.prunus", drawn=found.drawn())
        assert pack.drawn(tmp_path / "random.prunus") == {}
        assert all(map(torch.equal, prunus.load(tmp_path / "random.prunus").parameters(), found.pruned().parameters()))


@pytest.mark.parametrize(
    "text",
    [
        "layers: linear(3)",
        "layers: linear(0,3)",
        "layers: relu(1)",
        "layers: repeat",
        "layers: system(1)",
        "layers: linear(3,4",
        "layers: linear(99999,99999)",
        "layers: " + "linear(20000,10000) " * 2,
        "layers: conv(1,1,999999999,999999999,1,1)",
        "layers: pad(-1,0)",
    ],
)
def test_texts_of_strangers(text):
    with pytest.raises(FormatError):
        models.from_description(text)


def test_what_is_kept_is_what_was_drawn():
    target = models.from_description("fc-500(1x4x4,3)")
    found = approximate(target, 30, 0.02, choose=golden_series, seed=5)
    largest = max(float(parameter.detach().abs().max()) for parameter in target.parameters())
    octaves = int(found.metadata["weights"].rpartition("octaves=")[2].rstrip(")"))
    for stream, (name, kept) in enumerate(found.mask.items()):
        drawn = draws.hyperbolic(5, stream, kept.shape, largest, octaves)
        pruned = found.pruned().state_dict()[name]
        assert pruned.equal(torch.where(kept, drawn, 0))
        assert 0 < int(kept.sum()) < kept.numel() / 5
