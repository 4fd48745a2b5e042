"""From a network to a file and back, as it was or smaller."""

import pytest
import torch

import prunus
from prunus import models
from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.pattern import channel
from prunus.scope import tensor
from prunus.score import magnitude


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5", "resnet-20"])
def test_a_shrunk_network_comes_back_with_its_sizes_and_values(tmp_path, name):
    model = models.build(name, seed=0)
    mask = prunus.prune(model, magnitude, 0.5, pattern=channel(0), scope=tensor)
    example = torch.randn(2, 3, 32, 32) if name == "resnet-20" else torch.randn(2, 1, 28, 28)
    hidden = Mask({key: kept for key, kept in mask.items() if len(kept) > 10})
    small = prunus.shrink(model, hidden, example=example)
    prunus.save(small, tmp_path / "small.prunus")
    found = prunus.load(tmp_path / "small.prunus")
    assert {k: v.shape for k, v in found.state_dict().items()} == {k: v.shape for k, v in small.state_dict().items()}
    assert sum(p.numel() for p in found.parameters()) < sum(p.numel() for p in model.parameters())
    with torch.no_grad():
        assert torch.equal(found(example), small.eval()(example))


def test_larger_shapes_than_the_network_has_are_refused(tmp_path):
    state = models.build("lenet-300-100", seed=0).state_dict()
    state["fc1.weight"] = torch.zeros(400, 784)
    prunus.write(tmp_path / "large.prunus", state, model="lenet-300-100(1x28x28,10)")
    with pytest.raises(PrunusError, match=r"fc1\.weight"):
        prunus.load(tmp_path / "large.prunus")
