"""A task is known by what is behind its names, and notices when that has changed."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from prunus.data import load
from prunus.errors import PrunusError
from prunus.laboratory import Drawn, Task
from prunus.laboratory.task import _loaded, code_of
from prunus.store import identity

from .benches import NETWORKS, NOISY


def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(PrunusError, match="unknown start 'glort', did you mean 'glorot'"):
        Task("lenet-5", "digits", "", start="glort")
    with pytest.raises(PrunusError, match="unknown corruption 'label', did you mean 'labels'"):
        Task("lenet-5", "digits", "", corrupt="label")
    with pytest.raises(PrunusError, match="unknown data 'digit'"):
        Task.of("lenet-5", "digit")
    with pytest.raises(PrunusError, match="unknown model 'lenet5'"):
        Task.of("lenet5", "digits").network()
    with pytest.raises(PrunusError, match=r"'nowhere\.py' cannot be read: No such file"):
        Task.of("nowhere.py:factory", "digits")


def test_the_data_is_known_by_its_bytes() -> None:
    task = Task.of("lenet-300-100", "digits")
    assert task.data_bytes == load("digits").fingerprint
    assert task.read().train.inputs.equal(load("digits").train.inputs)
    with pytest.raises(PrunusError, match="data 'digits' has changed since this task was made"):
        dataclasses.replace(task, data_bytes="other").read()


def test_changed_pictures_are_another_task(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pictures = [tmp_path / split / label / f"{n}.png" for split in ("train", "test") for label in "ab" for n in (0, 1)]
    for number, path in enumerate(pictures):
        path.parent.mkdir(parents=True, exist_ok=True)
        image.new("L", (4, 4), number).save(path)
    before = Task.of("fc-500", str(tmp_path))
    assert before.read().input_shape == (1, 4, 4)
    image.new("L", (4, 4), 99).save(pictures[0])
    _loaded.cache_clear()  # as in a process that begins
    assert identity(Drawn(Task.of("fc-500", str(tmp_path)), 0)) != identity(Drawn(before, 0))
    with pytest.raises(PrunusError, match=f"data '{tmp_path}' has changed since"):
        before.read()


@pytest.mark.parametrize("corrupt", ["labels", "pixels"])
def test_only_the_training_part_is_corrupted(corrupt: str) -> None:
    data, found = load("digits"), Task.of("lenet-300-100", "digits", corrupt=corrupt).read()
    assert found.train.labels.equal(data.train.labels) == (corrupt == "pixels")
    assert found.train.inputs.equal(data.train.inputs) == (corrupt == "labels")
    assert found.train.labels.bincount().equal(data.train.labels.bincount())
    for name in ("inputs", "labels"):
        assert getattr(found.validation, name).equal(getattr(data.validation, name))
        assert getattr(found.test(), name).equal(getattr(data.test(), name))
    again = Task.of("lenet-300-100", "digits", corrupt=corrupt).read()
    assert again.train.inputs.equal(found.train.inputs)
    assert again.train.labels.equal(found.train.labels)


@pytest.mark.parametrize(("start", "variance"), [("glorot", lambda i, o: 2 / (i + o)), ("he", lambda i, o: 2 / i)])
def test_starts_are_normal_with_the_variance_of_the_paper(start: str, variance: object) -> None:
    """Oracle: moments of a normal sample of n lie within five standard errors, sqrt(2 / n), sqrt(24 / n)."""
    model = Task.of("lenet-300-100", "digits", start=start).network(seed=5)
    for layer in (layer for layer in model.modules() if isinstance(layer, nn.Linear)):
        expected = variance(layer.in_features, layer.out_features)  # type: ignore[operator]
        scaled, n = layer.weight.detach().double().flatten() / math.sqrt(expected), layer.weight.numel()
        assert abs(float(scaled.mean())) < 5 / math.sqrt(n)
        assert abs(float(scaled.square().mean()) - 1) < 5 * math.sqrt(2 / n)
        assert abs(float(scaled.pow(4).mean()) - 3) < 5 * math.sqrt(96 / n)
        assert not layer.bias.any()


def test_the_usual_start_is_the_networks_own() -> None:
    torch.manual_seed(5)
    model = Task.of("lenet-300-100", "digits").network(seed=5)
    own = nn.Linear(64, 300)
    assert model.fc1.weight.equal(own.weight)
    assert model.fc1.bias.equal(own.bias)


@pytest.mark.parametrize("start", ["usual", "glorot", "he"])
def test_networks_follow_from_the_seed_alone(start: str) -> None:
    task = Task.of("lenet-300-100", "digits", start=start)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = task.network(seed=3)
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(2)
    second, other = task.network(seed=3), task.network(seed=4)
    for name, value in first.state_dict().items():
        assert value.equal(second.state_dict()[name])
    assert not first.fc1.weight.equal(other.fc1.weight)


def test_a_persons_own_file_is_part_of_what_a_task_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(NETWORKS.read_text())
    model = f"{path}:noisy"
    task = Task.of(model, "digits")
    assert task.model_code == NOISY.model_code == code_of("model", model)
    task.network()
    path.write_text(NETWORKS.read_text().replace("0.2", "0.3"))
    assert identity(Drawn(Task.of(model, "digits"), 0)) != identity(Drawn(task, 0))
    with pytest.raises(PrunusError, match=f"model '{path}:noisy' has changed since this experiment was put together"):
        task.network()
    path.unlink()
    with pytest.raises(PrunusError, match=f"model '{path}:noisy': '{path}' cannot be read: No such file"):
        task.network()


def test_names_of_packages_lead_to_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package_of_mine").mkdir()
    inner, outer = tmp_path / "package_of_mine" / "inner.py", tmp_path / "package_of_mine" / "__init__.py"
    inner.write_text("def factory(): ...\n")
    outer.write_text("from package_of_mine.inner import factory\nclass Kind: ...\nthing = Kind()\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert code_of("model", "package_of_mine:factory") == code_of("model", f"{inner}:factory")
    assert code_of("model", "package_of_mine:thing") == code_of("model", f"{outer}:thing")
    with pytest.raises(PrunusError, match="'package_of_mine' has no 'nothing'"):
        code_of("model", "package_of_mine:nothing")
    with pytest.raises(PrunusError, match="score 'sys:intern': 'sys' cannot be read: No such file"):
        code_of("score", "sys:intern")


def test_names_of_other_libraries_have_no_file() -> None:
    assert Task.of("timm:resnet18", "digits").model_code is None
    assert Task.of("hf:microsoft/resnet-18", "digits").model_code is None
    assert Task.of("lenet-5", "digits").model_code is None
