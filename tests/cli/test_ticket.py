"""`prunus ticket`: what scripts rely on, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from prunus import models
from prunus.data import load
from prunus.evaluation import evaluate
from prunus.mask import Mask
from prunus.snapshot import Snapshot

from .refusals import refused

SHORT = ("lenet-300-100", "--data", "digits", "--rounds", 1, "--steps", 12, "--batch", 60)


def ticket(prunus, *more):
    outcome = prunus("ticket", *SHORT, *more, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.json


def test_the_json_is_that_of_the_contract(prunus):
    outcome = prunus("ticket", *SHORT, "--replicates", 2, "--controls", "reinit,one-shot", "--seed", 3, "--json")
    assert outcome.code == 0, outcome.err
    assert len(outcome.out.splitlines()) == 1
    result = json.loads(outcome.out.splitlines()[-1])
    assert {"model", "data", "seed", "density", "seconds", "rounds"} <= result.keys()
    assert (result["model"], result["data"], result["seed"]) == ("lenet-300-100", "digits", 3)
    assert result["seconds"] > 0
    dense, first = result["rounds"]
    for number, entry in enumerate((dense, first)):
        assert {"round", "density", "accuracy", "controls", "early_stop_step", "id"} <= entry.keys()
        assert entry["round"] == number
        assert len(entry["accuracy"]) == len(entry["ids"]) == len(set(entry["ids"])) == 2
        assert entry["id"] == entry["ids"][0]
        assert 0 <= entry["early_stop_step"] <= 12
        assert entry["early_stop_step"] == sum(entry["early_stop_steps"]) / 2
    kept = 0.8 * 64 * 300 + 0.8 * 300 * 100 + 0.9 * 100 * 10  # the last layer loses half of what others do
    assert dense["density"] == 1.0
    assert first["density"] == result["density"] == kept / 50_200
    assert dense["controls"] == {}
    assert {name: len(values) for name, values in first["controls"].items()} == {"reinit": 2, "one-shot": 2}
    assert first["accuracy"] != first["controls"]["reinit"]


def test_the_accuracy_is_that_of_the_weights_in_the_store(prunus):
    result = ticket(prunus, "--store", "kept")
    data = load("digits")
    for entry in result["rounds"]:
        model = models.build("lenet-300-100", data)
        Snapshot.load(Path("kept") / entry["id"] / "result.safetensors").restore_weights(model)
        assert entry["accuracy"] == [100 - evaluate(model, data.test()).error]
        weights = torch.cat([value.flatten() for name, value in model.named_parameters() if "weight" in name])
        assert int(weights.count_nonzero()) == pytest.approx(entry["density"] * len(weights), abs=2)


def test_progress_goes_to_standard_error(prunus):
    outcome = prunus("ticket", *SHORT, "--json")
    assert "train 12/12" in outcome.err
    assert "piece" in outcome.err


def test_the_same_store_asked_again_gives_the_same_answer_and_trains_nothing(prunus, steps):
    options = ("--controls", "shuffle, corrupt-labels", "--rewind", 5)
    first = ticket(prunus, *options)
    # the way to step 5, dense, ticket and shuffle from there, all of the corrupted network, its ticket from there
    assert steps() == 5 + 7 + 7 + 7 + 12 + 7
    again = ticket(prunus, *options)
    assert steps() == 45
    assert first.pop("seconds") != again.pop("seconds")
    assert (first.pop("steps_run"), again.pop("steps_run")) == (45, 0)
    assert first.pop("pieces_made") > again.pop("pieces_made") == 0
    assert first == again
    assert "0 pieces made, 0 training steps run." in prunus("ticket", *SHORT, *options).out


def test_replicates_are_the_seeds_from_the_given_one_on(prunus):
    both = ticket(prunus, "--seed", 3, "--replicates", 2)["rounds"]
    for place, seed in enumerate((3, 4)):
        alone = ticket(prunus, "--seed", seed)["rounds"]
        assert [entry["ids"][place] for entry in both] == [entry["id"] for entry in alone]
        assert [entry["accuracy"][place] for entry in both] == [entry["accuracy"][0] for entry in alone]


def test_all_is_in_one_store_and_nothing_beside_it(prunus):
    ticket(prunus)
    assert [path.name for path in Path().iterdir()] == ["prunus-store"]
    assert not list(Path("prunus-store").rglob("*unfinished*"))


def test_the_scope_may_be_chosen(prunus):
    mine = ticket(prunus, "--scope", "network", "--keep", 0.5)["rounds"][1]
    assert mine["density"] == 0.5
    lineage = prunus("lineage", "prunus-store", "--json").json["pieces"]
    (mask,) = [piece["id"] for piece in lineage if piece["what"].startswith("pruned")]
    densities = Mask.load(Path("prunus-store") / mask / "result.safetensors").densities()
    assert max(densities.values()) - min(densities.values()) > 0.05


def test_what_returns_may_be_chosen(prunus):
    kinds = ("weights", "learning-rate", "none")
    ids = {ticket(prunus, "--rewind", 5, "--rewinding", kind)["rounds"][1]["id"] for kind in kinds}
    assert len(ids) == 3


def test_a_score_in_a_file_is_known_by_what_the_file_says(prunus):
    scores = Path("scores.py")
    scores.write_text("def mine(weights):\n    return {n: w.abs() for n, w in weights.items()}\n")
    large = ticket(prunus, "--score", "scores.py:mine")["rounds"]
    assert large[1]["accuracy"] == ticket(prunus)["rounds"][1]["accuracy"]
    scores.write_text("def mine(weights):\n    return {n: -w.abs() for n, w in weights.items()}\n")
    small = ticket(prunus, "--score", "scores.py:mine")["rounds"]
    assert small[0]["id"] == large[0]["id"], "dense training is shared"
    assert small[1]["id"] != large[1]["id"]
    assert small[1]["accuracy"] != large[1]["accuracy"]


def test_settings_may_be_chosen(prunus):
    ids = {
        ticket(prunus, *more)["rounds"][0]["id"]
        for more in ((), ("--learning-rate", 0.01), ("--optimizer", "sgd"), ("--start", "he"))
    }
    assert len(ids) == 4


def test_people_get_a_table(prunus):
    outcome = prunus("ticket", *SHORT, "--replicates", 2, "--controls", "random")
    assert outcome.code == 0, outcome.err
    for words in ("round", "random", "100.00 %", "80.20 %", "+-", "prunus lineage prunus-store"):
        assert words in outcome.out


def test_controls_at_chosen_rounds(prunus, steps):
    options = ("--data", "digits", "--steps", 12, "--rounds", 2, "--controls", "reinit", "--controls-at", "1")
    table = prunus("ticket", "lenet-300-100", *options)
    assert table.code == 0, table.err
    assert "reinit" in table.out
    assert steps() == 4 * 12
    rounds = prunus("ticket", "lenet-300-100", *options, "--json").json["rounds"]
    assert [list(entry["controls"]) for entry in rounds] == [[], ["reinit"], []]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rounds", -1), ("rounds must be at least 0, found -1",)),
        (("--rounds", "two"), ("--rounds",)),
        (("--keep", 0), ("keep: the part to keep, 0.0, is outside (0, 1]",)),
        (("--keep", 1.5), ("keep: the part to keep, 1.5, is outside (0, 1]",)),
        (("--keep", "nan"), ("keep: the part to keep, nan, is outside (0, 1]",)),
        (("--rewind", 13), ("step 13 is no part of the 12",)),
        (("--rewind", -1), ("step -1 is no part of the 12",)),
        (("--rewinding", "weigths"), ("--rewinding", "weigths")),
        (("--replicates", 0), ("replicates must be at least 1, found 0",)),
        (("--processes", 0), ("processes must be at least 1, found 0",)),
        (("--address", "10.0.0.1:6379"), ("10.0.0.1:6379", "--engine ray")),
        (("--controls", "reinit,shufle"), ("unknown control 'shufle', did you mean 'shuffle'?",)),
        (("--controls-at", "1,one"), ("controls-at '1,one' is not whole numbers separated by commas",)),
        (("--controls-at", "1,2"), ("there is no round 2 to have controls at, only 1 to 1",)),
        (("--score", "magnitud"), ("unknown score 'magnitud', did you mean 'magnitude'?",)),
        (("--score", "gone.py:mine"), ("gone.py",)),
        (("--score", "momentum"), ("this score asks for momenta, which cannot be measured",)),
        (("--scope", "networks"), ("unknown scope 'networks', did you mean 'network'?",)),
        (("--start", "glorott"), ("--start", "glorott")),
        (("--optimizer", "adm"), ("unknown optimizer 'adm', did you mean 'adam'?",)),
        (("--steps", -5), ("steps must be at least 0, found -5",)),
        (("--batch", 0), ("batch must be at least 1, found 0",)),
        (("--data", "digit"), ("unknown data 'digit', did you mean 'digits'?",)),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) and len(value) == 2 else None,
)
def test_bad_options_leave_nothing_behind(prunus, steps, options, words):
    usual = {"--data": "digits", "--rounds": 1, "--steps": 12} | {options[0]: options[1]}
    refused(prunus("ticket", "lenet-300-100", *[part for pair in usual.items() for part in pair]), *words)
    assert list(Path().iterdir()) == []
    assert steps() == 0


def test_an_unknown_model(prunus):
    refused(prunus("ticket", "lenet-30-100", *SHORT[1:]), "unknown model 'lenet-30-100', did you mean")
    assert list(Path().iterdir()) == []


def test_a_store_that_is_something_else(prunus, steps):
    Path("file").write_text("mine")
    Path("folder").mkdir()
    Path("folder/thesis.tex").write_text("mine")
    refused(prunus("ticket", *SHORT, "--store", "file"), "file is not a store")
    refused(prunus("ticket", *SHORT, "--store", "folder"), "folder is not a store")
    assert sorted(str(path) for path in Path().rglob("*")) == ["file", "folder", "folder/thesis.tex"]
    assert Path("file").read_text() == Path("folder/thesis.tex").read_text() == "mine"
    assert steps() == 0


def test_an_empty_folder_becomes_a_store(prunus):
    Path("new").mkdir()
    ticket(prunus, "--store", "new")
    assert prunus("lineage", "new").code == 0


@pytest.mark.parametrize("verb", ["ticket", "connect", "lineage"])
def test_help_imports_no_torch(verb):
    code = f"import sys; from prunus.cli import run; run(['{verb}', '--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout
