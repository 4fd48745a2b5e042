"""The recipe: its stages, its choices, and being killed at any moment."""

import copy
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from prunus import models, pack
from prunus.checkpoint import read_weights
from prunus.data import load
from prunus.errors import PrunusError
from prunus.evaluation import evaluate
from prunus.mask import Mask
from prunus.pruning import prune
from prunus.recipe import Plan, deep_compression
from prunus.scope import given
from prunus.score import magnitude
from prunus.settings import Settings
from prunus.sparse import SparseHold
from prunus.tree import weights

DATA = load("digits")


def short(**choices):
    plan = Plan(density=0.2, **choices).scaled(0.02)
    return replace(plan, tune=replace(plan.tune, epochs=1))


def compressed(tmp_path, plan, seed=0, **more):
    network = models.build("lenet-300-100", DATA, seed=seed)
    return network, deep_compression(network, DATA, tmp_path / "out.prunus", plan=plan, seed=seed, **more)


def test_the_model_ends_with_the_weights_in_the_file(tmp_path):
    network, result = compressed(tmp_path, short())
    stored = pack.read(tmp_path / "out.prunus")
    assert all(torch.equal(stored[name], tensor) for name, tensor in network.state_dict().items())
    assert evaluate(network, DATA.test()).error == result.error_reloaded == result.error


@pytest.mark.parametrize(("own", "kept"), [(0.1, 0.1), (0.4, 0.2)])
def test_a_network_that_comes_pruned_keeps_its_zeros(tmp_path, own, kept):
    """Whatever part of it each tensor has: here the first almost nothing, and the last everything."""
    network = models.build("lenet-300-100", DATA, seed=0)
    scarce = {"fc1.weight": own / 20, "fc3.weight": 1.0}
    mask = prune(network, magnitude, own, scope=given(scarce))
    mask.apply_to(network)
    result = deep_compression(network, DATA, tmp_path / "out.prunus", plan=short(), trained=True)
    found = Mask({name: result.pruned[name] != 0 for name in mask})
    assert all((entries <= mask[name]).all() for name, entries in found.items())
    assert found.density == pytest.approx(min(mask.density, kept), abs=2e-5)


def test_pruning_with_sparse_layers_is_the_same_up_to_the_order_of_additions(tmp_path, monkeypatch):
    plan = short(rounds=1)
    layers = set()
    update = SparseHold.update
    monkeypatch.setattr(SparseHold, "update", lambda held, mask: (update(held, mask), layers.add(str(held._sparse))))
    found = []
    for below in (0.0, 0.5):
        (folder := tmp_path / str(below)).mkdir()
        found.append(compressed(folder, replace(plan, retrain=replace(plan.retrain, sparse_below=below)))[1])
    dense, sparse = found
    assert len(layers) > 1  # in the course of the run
    for name, wanted in dense.pruned.items():
        assert torch.equal(sparse.pruned[name] != 0, wanted != 0), name
        assert torch.allclose(sparse.pruned[name], wanted, rtol=1e-3, atol=1e-4), name
    assert any(not torch.equal(sparse.pruned[name], wanted) for name, wanted in dense.pruned.items())


def test_every_tensor_shares_as_many_values_as_its_bits_allow(tmp_path):
    plan = short(bits=3, bias_bits=2, layer_bits={"fc3.weight": 5})
    network, _ = compressed(tmp_path, plan)
    allowed = {"fc1.weight": 8, "fc2.weight": 8, "fc3.weight": 32, "fc1.bias": 4, "fc2.bias": 4, "fc3.bias": 4}
    for name, parameter in network.named_parameters():
        assert len(parameter[parameter != 0].unique()) <= allowed[name], name


def test_given_densities_are_met_exactly(tmp_path):
    wanted = {"fc1.weight": 0.08, "fc2.weight": 0.09, "fc3.weight": 0.26}
    _, result = compressed(tmp_path, replace(short(densities=wanted), density=0.08))
    for name, density in wanted.items():
        kept = int((result.pruned[name] != 0).sum())
        assert abs(kept - density * result.pruned[name].numel()) <= 1, name


def test_quality_is_a_threshold_on_the_dense_weights(tmp_path):
    _, result = compressed(tmp_path, short(quality=1.0))
    dense = models.build("lenet-300-100", DATA, seed=0)
    _, again = compressed(tmp_path, short(quality=1.0), folder=tmp_path / "stages")
    dense.load_state_dict(read_weights(tmp_path / "stages" / "dense.safetensors"))
    for name, weight in weights(dense).items():
        kept = int((weight.abs() >= weight.std(correction=0)).sum())
        assert abs(int((again.pruned[name] != 0).sum()) - kept) <= 1, name
    assert result.file_bytes == again.file_bytes


def test_rounds_end_before_a_layer_runs_empty(tmp_path):
    plan = replace(short(max_error=99.0), step_down=0.1, density=0.5)  # nothing is ever above 99 %
    _, result = compressed(tmp_path, plan)
    assert result.density == pytest.approx(0.005, rel=0.01)
    assert all((result.quantised[name] != 0).any() for name in ("fc1.weight", "fc2.weight", "fc3.weight"))


def test_the_last_round_within_the_error_is_taken(tmp_path):
    """Oracle: the rounds' own files, evaluated here."""
    folder = tmp_path / "stages"
    plan = Plan(density=0.3, max_error=50.0, step_down=0.1, rounds=1).scaled(0.1)
    network, result = compressed(tmp_path, plan, folder=folder)
    errors = []
    for round_ in range(1, 1 + len(list(folder.glob("quantised-*.safetensors")))):
        network.load_state_dict(read_weights(folder / f"quantised-{round_}.safetensors"))
        errors.append(evaluate(network, DATA.validation).error)
    assert len(errors) >= 2
    assert errors[-1] > 50.0
    assert all(error <= 50.0 for error in errors[:-1])
    assert result.error_validation == errors[-2]


def test_a_folder_with_other_work_is_refused(tmp_path):
    compressed(tmp_path, short(), folder=tmp_path / "stages")
    with pytest.raises(PrunusError, match="holds other work"):
        compressed(tmp_path, short(), seed=1, folder=tmp_path / "stages")


class Always(nn.Module):
    """Answers every image with class 3, except in training mode: there with class 0."""

    def __init__(self, classes=10):
        super().__init__()
        self.answer = nn.Parameter(torch.eye(classes)[3] * 9)

    def forward(self, images):
        return (self.answer.roll(-3) if self.training else self.answer).expand(len(images), -1)


def test_what_is_pruned_learns_from_the_teacher_alone(tmp_path):
    """A teacher that always says 3 makes a network that always says 3, and is itself left as it was."""
    teacher = Always().train()
    _, result = compressed(tmp_path, replace(short(rounds=1), retrain=Settings(epochs=30)), teacher=teacher)
    labels = DATA.test().labels
    assert result.error == pytest.approx(100 * float((labels != 3).float().mean()))
    assert result.error_dense < 80  # the dense network has learnt from the labels
    assert teacher.training
    assert teacher.answer.requires_grad


def test_without_a_teacher_the_dense_network_is_the_teacher(tmp_path):
    dense, files = models.build("lenet-300-100", DATA), []
    for teacher in (None, copy.deepcopy(dense), models.build("lenet-5", DATA)):
        path = tmp_path / f"{len(files)}.prunus"
        deep_compression(copy.deepcopy(dense), DATA, path, plan=short(), trained=True, teacher=teacher)
        files.append(path.read_bytes())
    assert files[0] == files[1] != files[2]


def test_the_teacher_is_part_of_the_work(tmp_path):
    compressed(tmp_path, short(), folder=tmp_path / "stages", teacher=Always())
    with pytest.raises(PrunusError, match="holds other work"):
        compressed(tmp_path, short(), folder=tmp_path / "stages")


def test_a_teacher_of_other_images_or_classes_is_refused(tmp_path):
    with pytest.raises(PrunusError, match="tells 7 classes apart, expected the model's 10"):
        compressed(tmp_path, short(), teacher=Always(7))
    with pytest.raises(PrunusError, match=r"takes no images \(1, 8, 8\) of 'digits'"):
        compressed(tmp_path, short(), teacher=models.build("lenet-300-100"))


def test_networks_with_normalisation_and_strides_of_their_own(tmp_path):
    network = models.build("resnet-20", DATA, seed=0)
    plan = replace(short(), dense=replace(short().dense, steps=2, epochs=None))
    plan = replace(plan, retrain=plan.dense, tune=plan.dense)
    result = deep_compression(network, DATA, tmp_path / "r.prunus", plan=plan)
    assert result.density == pytest.approx(0.2, abs=1e-4)
    again = models.from_description(pack.peek(tmp_path / "r.prunus").model)
    again.load_state_dict(pack.read(tmp_path / "r.prunus"))
    assert evaluate(again, DATA.test()).error == result.error_reloaded


COMMAND = (
    *(sys.executable, "-m", "prunus.cli", "compress", "lenet-300-100", "--data", "digits"),
    *("--density", "0.1", "--budget", "0.15", "-o"),
)


def test_killed_at_any_moment_the_bytes_are_the_same(tmp_path):
    """SIGKILL as soon as each kind of unfinished file is there: in the middle of every stage."""
    subprocess.run([*COMMAND, tmp_path / "undisturbed.prunus"], check=True, capture_output=True)
    file = tmp_path / "killed.prunus"
    stages = tmp_path / ".killed.prunus.stages"
    killed = 0
    for wanted in ("identity.json", "dense.safetensors", "pruned-1.safetensors", "quantised-1.safetensors"):
        process = subprocess.Popen([*COMMAND, file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (stages / wanted).exists() and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.wait()
        killed += not file.exists()
    assert killed >= 3
    subprocess.run([*COMMAND, file], check=True, capture_output=True)
    assert file.read_bytes() == (tmp_path / "undisturbed.prunus").read_bytes()
    assert not stages.exists()
    assert sorted(Path(tmp_path).iterdir()) == [file, tmp_path / "undisturbed.prunus"]
