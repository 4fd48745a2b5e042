"""A random network in a file: it loads and runs by itself, and every weight in it is one that the seed gives."""

import pytest
import torch

import prunus
from prunus import draws, models
from prunus.construction import approximate, diamond, golden_series, linear, smallest_subset
from prunus.construction.parts import RandomNetwork
from prunus.errors import FormatError


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
