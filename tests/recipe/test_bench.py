"""`bench`: forms compute what they should, sizes are those of the tensors, and who wins follows from the seconds."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from prunus import load, shrink, sparsify, write
from prunus.errors import PrunusError
from prunus.kernel.codebook_linear import CodebookLinear
from prunus.mask import Mask
from prunus.recipe import bench as benches
from prunus.recipe import forms
from prunus.recipe.bench import Bench, Measured, bench
from prunus.sparse import SparseLinear, Sparsified

NAMES = ["dense", "masked", "sparse", "codebook", "shrunk"]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benches, "SETTLING", 0.0)
    monkeypatch.setattr(benches, "SAMPLE", 0.0)


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 5))


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 12, 3), nn.ReLU()]
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))
    with torch.no_grad():  # a removed channel then is constant, but not zero
        model[1].bias.uniform_(-1, 1)
        model[1].running_mean.uniform_(-1, 1)
    return model


def random_mask(model: nn.Module) -> Mask:
    generator = torch.Generator().manual_seed(2)
    return Mask({n: torch.rand(p.shape, generator=generator) < 0.1 for n, p in model.named_parameters() if p.ndim > 1})


def rows(result: Bench) -> dict[str, Measured]:
    return {form.name: form for form in result.forms}


@pytest.mark.parametrize("train", [False, True])
def test_every_form_is_measured(train: bool) -> None:
    model, inputs = perceptron(), torch.randn(20, 40)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    threads = torch.get_num_threads()
    result = bench(model, inputs, density=0.2, train=train, threads=2, rounds=3)
    assert torch.get_num_threads() == threads
    assert result.threads == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    found = rows(result)
    assert list(found) == NAMES
    for name, form in found.items():
        assert form.reason == ""
        assert form.difference is not None
        assert form.difference < 1e-5
        assert form.forward is not None
        assert list(form.forward.seconds) == sorted(form.forward.seconds)
        assert (form.step is not None) == (train and name != "codebook")
    assert found["masked"].density == found["sparse"].density == pytest.approx(0.2, abs=1e-3)
    assert found["shrunk"].density == pytest.approx(0.2, abs=0.03)
    assert set(result.chosen) == ({"forward", "step"} if train else {"forward"})
    assert result.chosen["forward"].timings.keys() == {"0", "2", "4"}


@pytest.mark.parametrize(("build", "shape"), [(perceptron, (40,)), (convolutional, (3, 8, 8))])
def test_forms_compute_what_the_masked_network_does(
    build: Callable[[], nn.Module], shape: tuple[int, ...], tmp_path: Path
) -> None:
    model, inputs = build(), torch.randn(9, *shape)
    generator = torch.Generator().manual_seed(1)
    kept = {n: torch.rand(p.shape, generator=generator) < 0.3 for n, p in model.named_parameters() if p.ndim > 1}
    mask = Mask(kept)
    for name, parameter in (wanted := build()).named_parameters():
        if name in kept:
            parameter.data *= kept[name]
    wanted.eval()
    for form in (forms.masked(model, mask, tmp_path), forms.sparse(model, mask, inputs, tmp_path)):
        assert torch.allclose(form.network(inputs), wanted(inputs), rtol=1e-4, atol=1e-5)
        assert torch.equal(form.plain.eval()(inputs), wanted(inputs))
    small = forms.shrunk(model, 0.3, inputs, tmp_path)
    assert torch.allclose(small.network(inputs), small.plain.eval()(inputs), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in small.network.parameters()) < sum(p.numel() for p in model.parameters())


def test_a_codebook_has_few_values_and_the_size_of_its_file(tmp_path: Path) -> None:
    model = perceptron()
    form = forms.codebook(model, random_mask(model), 8, tmp_path)
    assert [type(form.network[i]) for i in (0, 2)] == [CodebookLinear] * 2
    for name, weight in form.plain.named_parameters():
        if weight.ndim > 1:
            assert len(weight[weight != 0].unique()) <= 8, name
    path = tmp_path / "own.prunus"
    write(path, form.plain.state_dict())
    assert form.file_bytes == path.stat().st_size
    assert torch.allclose(load(path, perceptron())(inputs := torch.randn(3, 40)), form.network(inputs), atol=1e-5)


def test_units_are_the_largest_with_all_that_is_theirs() -> None:
    model = convolutional()
    mask = forms.units(model, 0.25)
    for layer, tensors in {"0": ("0.weight", "1.weight", "1.bias"), "3": ("3.weight", "3.bias")}.items():
        sums = model.get_parameter(f"{layer}.weight").abs().sum((1, 2, 3))
        largest = set(sums.topk(len(sums) // 4).indices.tolist())
        for name in tensors:
            alive = mask[name].flatten(1).any(1) if mask[name].ndim > 1 else mask[name]
            assert set(alive.nonzero().flatten().tolist()) == largest
    assert set(mask) == {"0.weight", "1.weight", "1.bias", "3.weight", "3.bias"}


def test_bytes_in_memory_are_those_of_the_tensors() -> None:
    layer = nn.Linear(10, 6)
    assert forms.held_bytes(layer) == 4 * (60 + 6)
    twin = nn.Linear(10, 6)
    twin.weight = layer.weight
    assert forms.held_bytes(nn.ModuleList([layer, twin])) == 4 * (60 + 6 + 6)
    sparse = SparseLinear.of(layer, torch.eye(6, 10).bool())
    tensors, _ = sparse.connections.taken_apart()
    known = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    assert forms.held_bytes(sparse) == 4 * (6 + 6) + sum(known.values())
    assert sum(known.values()) >= 6 * (8 + 4)


def test_without_a_density_the_zeros_count() -> None:
    model, inputs = perceptron(), torch.randn(4, 40)
    with pytest.raises(PrunusError, match="no weight of Sequential is zero: say the density"):
        bench(model, inputs, rounds=2)
    mask = random_mask(model)
    mask.apply_to(model)
    found = rows(bench(model, inputs, rounds=2))
    assert found["dense"].density == found["masked"].density == mask.density


def test_a_form_that_there_is_not_says_why() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 4))
    found = rows(bench(model, torch.randn(4, 8), density=0.8, rounds=2))
    assert found["codebook"].reason == "no linear layer is less than half as large when packed."
    with pytest.raises(PrunusError) as refusal:
        shrink(model, example=torch.randn(4, 8))
    assert found["shrunk"].reason == str(refusal.value)
    assert found["shrunk"].forward is found["shrunk"].file_bytes is None
    single = rows(bench(nn.Sequential(nn.Linear(9, 4)), torch.randn(4, 9), density=0.5, rounds=2))
    assert single["shrunk"].reason == "no unit of Sequential can be taken out."


def test_a_form_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: nn.Module, mask: Mask, *, example: Tensor) -> Sparsified:
        model[4].bias.data += 0.1
        return sparsify(model, mask)

    monkeypatch.setattr(forms, "sparsify", wrong)
    with pytest.raises(PrunusError, match="sparse: outputs differ from those of the plain network by"):
        bench(perceptron(), torch.randn(4, 40), density=0.2, rounds=2)


@pytest.mark.parametrize(
    ("inputs", "options", "words"),
    [
        (torch.randn(4, 39), {"density": 0.2}, r"Sequential does not run on inputs \(4, 39\)"),
        (torch.randn(4, 2, 40), {"density": 0.2}, r"gives \(4, 2, 5\) of inputs \(4, 2, 40\), expected \(batch, class"),
        (torch.randn(4, 40), {"density": 1.5}, r"density 1\.5 is outside"),
        (torch.randn(4, 40), {"density": 0.2, "rounds": 1}, "found 1 rounds"),
        (torch.randn(4, 40), {"density": 0.2, "threads": 0}, "on 0 threads"),
    ],
)
def test_what_cannot_be_measured_is_refused(inputs: Tensor, options: dict[str, float], words: str) -> None:
    with pytest.raises(PrunusError, match=words):
        bench(perceptron(), inputs, **options)


def test_who_wins_is_decided_by_paired_rounds() -> None:
    taken = {
        "dense": [4.0, 8.0, 4.0],
        "masked": [4.0, 7.9, 4.0],  # within the noise
        "sparse": [2.0, 4.0, 1.0],
        "codebook": [1.0, 2.0, 1.0],
        "shrunk": [8.0, 16.0, 8.0],
        "again": [4.0, 8.0, 2.0],
    }
    speeds = benches._speeds(taken)
    assert speeds["sparse"].ratio == (2.0, 2.0, 3.0)
    assert speeds["sparse"].seconds == (1.5, 2.0, 3.0)
    assert speeds["dense"].ratio == (1.0, 1.0, 1.5)
    result = Bench(tuple(Measured(name, forward=speed) for name, speed in speeds.items()), {}, 1)
    assert [form.name for form in result.winners("forward")] == ["codebook", "sparse"]
    assert result.winners("step") == []
