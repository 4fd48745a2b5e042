"""`prunus bench`: what scripts rely on, what people read, and what is refused."""

from pathlib import Path

import pytest

from prunus.recipe import bench as benches

from .refusals import refused

FORMS = ["dense", "masked", "sparse", "codebook", "shrunk"]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(benches, "SETTLING", 0.0)
    monkeypatch.setattr(benches, "SAMPLE", 0.0)


def test_json(prunus):
    outcome = prunus(
        *("bench", "lenet-300-100", "--density", 0.05, "--batch", 8, "--rounds", 2, "--threads", 1, "--train"),
        *("--scope", "tensor", "--seed", 3, "--json"),
    )
    assert outcome.code == 0, outcome.err
    found = outcome.json
    assert found["model"] == "lenet-300-100"
    assert (found["seed"], found["batch"], found["threads"], found["scope"]) == (3, 8, 1, "tensor")
    assert found["density"] == pytest.approx(0.05, abs=1e-4)
    assert found["dense_bytes"] == 4 * 266_610
    forms = {form["name"]: form for form in found["forms"]}
    assert list(forms) == FORMS
    for name, form in forms.items():
        assert form["difference"] < 1e-5
        assert len(form["forward"]["ratio"]) == len(form["forward"]["seconds"]) == 3
        assert (form["step"] is None) == (name == "codebook")
    assert forms["codebook"]["file_bytes"] < forms["masked"]["file_bytes"] < forms["dense"]["file_bytes"]
    assert forms["codebook"]["memory_bytes"] < forms["dense"]["memory_bytes"]
    for column in ("forward", "step"):
        layers = found["layers"][column]
        assert {*layers["sparse"], *(name.removesuffix(".weight") for name in layers["dense"])} == {"fc1", "fc2", "fc3"}
        assert {"dense", "sparse", "on_lanes"} <= set(layers["measured"]["fc1"])


def test_the_table_says_why_a_form_is_missing(prunus):
    Path("mine.py").write_text(
        "from torch import nn\n"
        "def small(classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.LayerNorm(8), nn.Linear(8, classes))\n"
    )
    outcome = prunus("bench", "mine.py:small", "--data", "digits", "--density", 0.9, "--batch", 5, "--rounds", 2)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert "mine.py:small, batch 5" in lines[0]
    assert "codebook: none, no linear layer is less than half as large when packed." in lines
    assert any(line.startswith("shrunk: none, Sequential cannot be shrunk: LayerNorm at '2'") for line in lines)
    assert any(line.startswith("  1") and "on lanes" in line for line in lines)
    assert lines[-1].startswith("forward: ")


def test_a_file_says_its_network_and_its_zeros(prunus, trained):
    prune = (
        "prune",
        "lenet-300-100",
        "--weights",
        "w.safetensors",
        "--score",
        "magnitude",
        "--density",
        0.1,
        "--scope",
        "erk",
    )
    assert prunus(*prune, "-o", "p.safetensors").code == 0
    ways = (("p.safetensors",), ("lenet-300-100", "--weights", "p.safetensors"))
    first, second = (prunus("bench", *way, "--rounds", 2, "--batch", 4, "--json") for way in ways)
    assert first.code == second.code == 0, first.err + second.err
    forms = [
        [(form["name"], form["density"], form["file_bytes"]) for form in one.json["forms"]] for one in (first, second)
    ]
    assert forms[0] == forms[1]
    assert first.json["density"] == pytest.approx(0.1, abs=1e-4)
    assert first.json["dense_bytes"] == 4 * (64 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lenet-3000-100", "--density", 0.1), ("unknown model", "did you mean 'lenet-300-100'?")),
        (("lenet-300-100",), ("no weight of Sequential is zero: say the density",)),
        (("lenet-300-100", "--density", 0), ("density 0.0 is outside (0, 1]",)),
        (("lenet-300-100", "--density", 0.1, "--scope", "tensr"), ("unknown scope 'tensr', did you mean 'tensor'?",)),
        (("lenet-300-100", "--density", 0.1, "--batch", 0), ("batch 0",)),
        (("lenet-300-100", "--density", 0.1, "--batch", 9999, "--data", "digits"), ("batch 9999 is larger",)),
        (("lenet-300-100", "--density", 0.1, "--rounds", 1), ("1 rounds",)),
        (("lenet-300-100", "--density", 0.1, "--threads", 0), ("0 threads",)),
        (("gone.safetensors", "--density", 0.1), ("gone.safetensors", "No such file")),
        (("gone.prunus", "--weights", "w.safetensors"), ("gone.prunus has weights of its own",)),
        (("torch.nn:Flatten", "--density", 0.1), ("'torch.nn:Flatten' does not say what inputs it takes",)),
        (("torch.nn:Flatten", "--density", 0.1, "--data", "digits"), ("Flatten has no weights to prune",)),
    ],
    ids=lambda value: " ".join(map(str, value)) if len(value) > 1 else None,
)
def test_bad_input(prunus, arguments, words):
    refused(prunus("bench", *arguments, "--json"), *words)
