"""From a network to a file and back, as it was or smaller."""

import pytest
import torch
from torch import nn

import prunus
from prunus import models
from prunus.checkpoint import write_weights
from prunus.errors import PrunusError
from prunus.kernel.codebook_linear import CodebookLinear
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


def pruned_and_shared(name):
    """A network whose linear weights have few kept entries of few values."""
    torch.manual_seed(0)
    model = models.build(name, seed=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                values = torch.randn(20)[torch.randint(20, parameter.shape)] / 10
                parameter.copy_(values * (torch.rand(parameter.shape) < 0.1))
            else:
                parameter.normal_(std=0.1)
    return model


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5", "resnet-20"])
@pytest.mark.parametrize("suffix", [".prunus", ".safetensors"])
def test_a_network_runs_from_its_packed_entries(tmp_path, name, suffix):
    model, path = pruned_and_shared(name), tmp_path / f"network{suffix}"
    if suffix == ".prunus":
        prunus.save(model, path)
    else:
        write_weights(path, model.state_dict(), metadata={"model": models.describe(model)})
    found = prunus.load(path, as_="sparse")
    linear = [module for module in found.modules() if type(module) is nn.Linear]
    codebook = [module for module in found.modules() if isinstance(module, CodebookLinear)]
    assert [layer.matrix.shape for layer in codebook] == [
        tuple(module.weight.shape) for module in model.modules() if type(module) is nn.Linear
    ]
    assert not linear
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    example = torch.randn(2, 3, 32, 32) if name == "resnet-20" else torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        assert torch.allclose(found(example), model(example), atol=1e-5)


def test_a_network_of_ones_own_is_filled_and_only_what_pays_is_packed(tmp_path):
    torch.manual_seed(0)

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.inner = nn.Embedding(50, 64), nn.Linear(64, 64)
            self.full, self.head = nn.Linear(64, 64, bias=False), nn.Linear(64, 50)
            self.head.weight = self.embedding.weight

        def forward(self, x):
            return self.head(self.full(self.inner(self.embedding(x))))

    model = Tied()
    with torch.no_grad():
        for weight in (model.embedding.weight, model.inner.weight):
            weight *= torch.rand(weight.shape) < 0.1
    prunus.save(model, tmp_path / "own.prunus")
    found = prunus.load(tmp_path / "own.prunus", Tied(), as_="sparse")
    assert [type(found.inner), type(found.full), type(found.head)] == [CodebookLinear, nn.Linear, nn.Linear]
    assert found.head.weight is found.embedding.weight
    example = torch.randint(50, (3, 7))
    assert torch.allclose(found(example), model(example), atol=1e-5)
    with torch.no_grad():
        model.inner.bias[0] = torch.nan
    prunus.save(model, tmp_path / "broken.prunus")
    with pytest.raises(PrunusError, match=r"inner\.bias holds NaN"):
        prunus.load(tmp_path / "broken.prunus", Tied(), as_="sparse")


def test_a_shrunk_network_runs_from_its_packed_entries(tmp_path):
    model = models.build("lenet-300-100", seed=0)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["fc1.weight"], state["fc1.bias"] = (
        state["fc1.weight"][:50] * (torch.rand(50, 784) < 0.1),
        state["fc1.bias"][:50],
    )
    state["fc2.weight"] = state["fc2.weight"][:, :50]
    prunus.write(tmp_path / "small.prunus", state, model=models.describe(model))
    dense, found = prunus.load(tmp_path / "small.prunus"), prunus.load(tmp_path / "small.prunus", as_="sparse")
    assert found.fc1.matrix.shape == (50, 784)
    assert type(found.fc2) is nn.Linear
    example = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        assert torch.allclose(found(example), dense(example), atol=1e-5)


def test_forms_that_there_are_not_are_refused(tmp_path):
    prunus.save(models.build("fc-500", seed=0), tmp_path / "a.prunus")
    with pytest.raises(PrunusError, match="'dense' or 'sparse', found 'csr'"):
        prunus.load(tmp_path / "a.prunus", as_="csr")
