"""`prunus connect`: twins of one start, two files of weights, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prunus import models
from prunus.data import load
from prunus.mask import Mask
from prunus.snapshot import Snapshot

from .refusals import refused

NETWORK = ("lenet-300-100", "--data", "digits")
SHORT = (*NETWORK, "--steps", 12, "--batch", 60, "--points", 3)


def connect(prunus, *more):
    outcome = prunus("connect", *SHORT, *more, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.json


def barrier(path):
    errors = [point["error"] for point in path]
    return max(errors) - (errors[0] + errors[-1]) / 2


def test_the_json_is_that_of_the_contract(prunus):
    outcome = prunus("connect", *SHORT[:-2], "--at", 4, "--json")
    assert outcome.code == 0, outcome.err
    assert len(outcome.out.splitlines()) == 1
    result = json.loads(outcome.out.splitlines()[-1])
    assert {"model", "data", "seed", "density", "barrier", "path", "seconds"} <= result.keys()
    assert (result["model"], result["data"], result["seed"]) == ("lenet-300-100", "digits", 0)
    assert (result["density"], result["at"]) == (1.0, 4)
    assert [point["part"] for point in result["path"]] == [number / 29 for number in range(30)]
    assert all(0 <= point[split] <= 100 for point in result["path"] for split in ("error", "error_train"))
    assert result["barrier"] == barrier(result["path"])
    (only,) = result["replicates"]
    assert only["path"] == result["path"]
    assert only["errors"] == [result["path"][0]["error"], result["path"][-1]["error"]]
    assert only["distance"] > 0
    assert len(set(only["ids"])) == 3


def test_the_barrier_of_several_is_the_highest_and_the_path_is_its(prunus):
    result = connect(prunus, "--replicates", 3, "--learning-rate", 0.02, "--seed", 1)
    barriers = [one["barrier"] for one in result["replicates"]]
    assert [one["seed"] for one in result["replicates"]] == [1, 2, 3]
    assert len(set(barriers)) > 1
    assert result["barrier"] == max(barriers) == barrier(result["path"])


def test_twins_that_never_part(prunus):
    result = connect(prunus, "--at", 12)
    assert result["barrier"] == result["replicates"][0]["distance"] == 0
    assert len({point["error"] for point in result["path"]}) == 1


def test_the_same_store_asked_again_gives_the_same_answer_and_trains_nothing(prunus, steps):
    first = connect(prunus, "--at", 4)
    assert steps() == 4 + 2 * 8
    again = connect(prunus, "--at", 4)
    assert steps() == 20
    assert first.pop("seconds") != again.pop("seconds")
    assert (first.pop("steps_run"), again.pop("steps_run")) == (20, 0)
    assert (first.pop("pieces_made"), again.pop("pieces_made")) == (5, 0)
    assert first == again
    assert [path.name for path in Path().iterdir()] == ["prunus-store"]


def test_progress_goes_to_standard_error(prunus):
    assert "train 12/12" in prunus("connect", *SHORT, "--json").err


def test_people_are_told_whether_it_is_stable(prunus):
    outcome = prunus("connect", *SHORT, "--at", 12)
    assert outcome.code == 0, outcome.err
    assert "parted at step 12, 100.0 % kept" in outcome.out
    assert "unstable" not in outcome.out
    assert "stable" in outcome.out


# Under a mask ----------------------------------------------------------------------------------------------------


@pytest.fixture
def mask(prunus):
    """A quarter of two layers, in mask.safetensors."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"fc1.weight": (300, 64), "fc2.weight": (100, 300)}
    found = Mask({name: torch.rand(shape, generator=generator) < 0.25 for name, shape in shapes.items()})
    found.save("mask.safetensors")
    return found


def test_twins_hold_the_mask(prunus, mask):
    result = connect(prunus, "--mask", "mask.safetensors")
    assert result["density"] == mask.density
    for twin in result["replicates"][0]["ids"][:2]:
        weights = Snapshot.load(Path("prunus-store") / twin / "result.safetensors").weights
        for name, kept in mask.items():
            assert not weights[name][~kept].any()
            assert weights[name][kept].all()
        assert weights["fc3.weight"].all()


def test_a_mask_as_prune_writes_it(prunus, trained):
    pruned = prunus(
        *("prune", "lenet-300-100", "--weights", "w.safetensors", "--data", "digits", "--score", "magnitude"),
        *("--density", 0.2, "-o", "p.safetensors", "--mask", "m.safetensors", "--json"),
    )
    assert pruned.code == 0, pruned.err
    assert connect(prunus, "--mask", "m.safetensors")["density"] == pruned.json["density"]


def test_a_mask_that_changed_is_another(prunus, mask):
    first = connect(prunus, "--mask", "mask.safetensors")
    (~mask).save("mask.safetensors")
    second = connect(prunus, "--mask", "mask.safetensors")
    assert second["density"] == pytest.approx(1 - first["density"])
    assert not set(first["replicates"][0]["ids"]) & set(second["replicates"][0]["ids"])


def test_masks_that_are_none(prunus, steps):
    Path("text.safetensors").write_text("hello " * 100)
    save_file({"fc1.weight": torch.ones(300, 64)}, "weights.safetensors")
    Mask({"fc1.weight": torch.ones(500, 64, dtype=torch.bool)}).save("shapes.safetensors")
    Mask({"fc9.weight": torch.ones(300, 64, dtype=torch.bool)}).save("names.safetensors")
    before = sorted(path.name for path in Path().iterdir())
    for name, words in {
        "text": ("text.safetensors is not a mask file",),
        "weights": ("weights.safetensors is not a mask file",),
        "shapes": ("fc1.weight", "(500, 64)", "(300, 64)"),
        "names": ("fc9.weight", "not in Sequential"),
        "gone": ("gone.safetensors", "No such file"),
    }.items():
        refused(prunus("connect", *SHORT, "--at", 4, "--mask", f"{name}.safetensors"), *words)
    assert steps() == 0
    assert sorted(path.name for path in Path().iterdir()) == before


# Between two files -----------------------------------------------------------------------------------------------


@pytest.fixture
def ends(prunus):
    """Two networks that were drawn and not trained, in a.safetensors and b.safetensors, and their distance."""
    data = load("digits")
    states = [models.build("lenet-300-100", data, seed=seed).state_dict() for seed in (1, 2)]
    for name, state in zip("ab", states, strict=True):
        save_file(state, f"{name}.safetensors")
    return sum(float((states[0][name] - states[1][name]).square().sum()) for name in states[0]) ** 0.5


def test_the_line_between_two_files(prunus, ends, steps):
    outcome = prunus("connect", *NETWORK, "--between", "a.safetensors", "b.safetensors", "--points", 5, "--json")
    assert outcome.code == 0, outcome.err
    assert {"model", "data", "barrier", "path", "distance", "seconds"} <= outcome.json.keys()
    assert len(outcome.out.splitlines()) == 1
    assert "connect 5/5" in outcome.err
    path = outcome.json["path"]
    assert [point["part"] for point in path] == [0, 0.25, 0.5, 0.75, 1]
    assert outcome.json["barrier"] == barrier(path)
    assert outcome.json["distance"] == pytest.approx(ends, rel=1e-6)
    first, second = load_file("a.safetensors"), load_file("b.safetensors")
    save_file({name: (first[name] + second[name]) / 2 for name in first}, "middle.safetensors")
    for name, point in {"a": path[0], "middle": path[2], "b": path[4]}.items():
        checked = prunus("evaluate", *NETWORK, "--weights", f"{name}.safetensors", "--json")
        assert checked.json["error"] == pytest.approx(point["error"], abs=1e-9)
    assert steps() == 0
    assert sorted(path.name for path in Path().iterdir()) == ["a.safetensors", "b.safetensors", "middle.safetensors"]


def test_the_line_between_two_files_for_people(prunus, ends):
    outcome = prunus("connect", *NETWORK, "--between", "a.safetensors", "a.safetensors", "--points", 2)
    assert outcome.out.startswith("barrier 0.00 points on test, L2 distance 0.000")


def test_files_that_do_not_fit(prunus, ends):
    save_file({"fc1.weight": torch.ones(2, 2)}, "other.safetensors")
    for second, words in {"other": ("names do not fit",), "gone": ("gone.safetensors", "No such file")}.items():
        refused(prunus("connect", *NETWORK, "--between", "a.safetensors", f"{second}.safetensors"), *words)
    refused(prunus("connect", *NETWORK, "--between", "a.safetensors"), "--between")
    refused(prunus("connect", *NETWORK, "--between", "a.safetensors", "b.safetensors", "--at", 3), "leave out", "--at")
    refused(
        prunus("connect", *NETWORK, "--between", "a.safetensors", "b.safetensors", "--points", 1),
        "two points at least, found 1",
    )


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--at", 13), ("step 13 is no part of the 12",)),
        (("--at", -1), ("step -1 is no part of the 12",)),
        (("--at", "start"), ("--at",)),
        (("--points", 1), ("a path has two points at least, found 1",)),
        (("--replicates", 0), ("replicates must be at least 1, found 0",)),
        (("--processes", 0), ("processes must be at least 1, found 0",)),
        (("--address", "10.0.0.1:6379"), ("10.0.0.1:6379", "--engine ray")),
        (("--start", "glorott"), ("--start", "glorott")),
        (("--optimizer", "adm"), ("unknown optimizer 'adm', did you mean 'adam'?",)),
        (("--data", "digit"), ("unknown data 'digit', did you mean 'digits'?",)),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) and len(value) == 2 else None,
)
def test_bad_options_leave_nothing_behind(prunus, steps, options, words):
    usual = {"--data": "digits", "--steps": 12} | {options[0]: options[1]}
    refused(prunus("connect", "lenet-300-100", *[part for pair in usual.items() for part in pair]), *words)
    assert list(Path().iterdir()) == []
    assert steps() == 0


def test_an_unknown_model(prunus):
    refused(prunus("connect", "lenet-30-100", *SHORT[1:]), "unknown model 'lenet-30-100', did you mean")
    assert list(Path().iterdir()) == []


def test_a_store_that_is_something_else(prunus, steps):
    Path("file").write_text("mine")
    Path("folder").mkdir()
    Path("folder/thesis.tex").write_text("mine")
    refused(prunus("connect", *SHORT, "--store", "file"), "file is not a store")
    refused(prunus("connect", *SHORT, "--store", "folder"), "folder is not a store")
    assert sorted(str(path) for path in Path().rglob("*")) == ["file", "folder", "folder/thesis.tex"]
    assert steps() == 0
