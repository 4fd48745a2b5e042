"""`prunus demo`, with less training than it has."""

import re
from dataclasses import replace
from pathlib import Path

from prunus import load
from prunus.data import load as load_data
from prunus.evaluation import evaluate
from prunus.mask import Mask
from prunus.recipe import random_network, usual

README = Path(__file__).parents[2] / "README.md"


def test_it_leaves_what_it_says(prunus, monkeypatch):
    short = replace(usual.demo_plan().scaled(0.05), rounds=1)
    monkeypatch.setattr(usual, "demo_plan", lambda: short)
    monkeypatch.setattr(random_network, "TARGETS", 500)
    outcome = prunus("demo", "--json")
    assert outcome.code == 0, outcome.err
    promised = set(re.findall(r"demo/([\w-]+\.\w+)", README.read_text()))
    assert promised >= {"digits.prunus", "digits.png", "random.prunus", "random-network.png", "report.html"}
    assert promised <= {path.name for path in Path("demo").iterdir()}
    for picture in ("digits.png", "random-network.png"):
        assert Path("demo", picture).read_bytes().startswith(b"\x89PNG")
    assert "A random network contains lenet-300-100 on digits" in Path("demo/report.html").read_text()

    test, inside = load_data("digits").test(), outcome.json["random_network"]
    pruned = load("demo/random.prunus")
    assert inside["error"] == evaluate(pruned, test).error
    assert (
        inside["error_dense"] == outcome.json["error_dense"] == evaluate(load("demo/trained.safetensors"), test).error
    )
    assert inside["kept_weights"] == Mask.of_nonzero(pruned).kept
    assert inside["target_weights"] == 64 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10
    assert inside["random_weights"] == 21 * inside["target_weights"]
    assert inside["max_error"] <= 0.01 or inside["within_epsilon"] < 1
    assert outcome.json["error_reloaded"] == evaluate(load("demo/digits.prunus"), test).error
