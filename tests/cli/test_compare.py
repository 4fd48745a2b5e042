"""`prunus compare`: what scripts rely on, what people read, and what is refused."""

from pathlib import Path

import pytest
from PIL import Image

from prunus.recipe import bench as benches

from .refusals import refused

TASK = ("compare", "lenet-300-100", "--data", "digits", "--steps", 12, "--batch", 60)
SHORT = (*TASK, "--replicates", 2)
CASE = (*SHORT, "--densities", "0.1", "--methods", "snip, mine.py:last-fine-tuned")


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(benches, "SETTLING", 0.0)
    monkeypatch.setattr(benches, "SAMPLE", 0.0)


@pytest.fixture
def mine(prunus):
    """A score of a person's own, in the working folder."""
    Path("mine.py").write_text("def last(weights):\n    return {name: w.abs() for name, w in weights.items()}\n")
    return "mine.py:last-fine-tuned"


def test_json_and_asked_again_the_same(prunus, mine, steps):
    first, again = (prunus(*CASE, "--timing", 2, "--seed", 3, "--picture", "c.png", "--json") for _ in range(2))
    assert first.code == again.code == 0, first.err
    assert len(first.out.splitlines()) == 1
    found = first.json
    assert (found["model"], found["data"], found["seed"], found["steps"]) == ("lenet-300-100", "digits", 3, 12)
    assert found["steps_run"] == steps()
    assert {row["method"] for row in found["methods"]} == {"snip", mine, "smart-ratio"}
    for row in found["methods"]:
        assert row["density"] == found["density"] == 0.1
        assert len(row["accuracy"]) == len(row["ids"]) == 2
        assert row["checks"].keys() == {"shuffled", "re-initialised", "inverted"}
        assert (row["steps"], row["empty"]) == (12, [])
        assert row["times_as_fast"] > 0
        assert row["multiplications"] == pytest.approx(0.1)
        assert row["file_bytes"] < found["dense_file_bytes"]
        assert (row["difference"] is None) == (row["method"] == "smart-ratio")
    with Image.open("c.png") as picture:
        assert picture.width > 4 * 600
    result = again.json
    assert (result.pop("pieces_made"), result.pop("steps_run")) == (0, 0)
    assert result.pop("seconds") < found["seconds"]
    assert result == {name: value for name, value in found.items() if name in result}


def test_a_table_for_each_density_and_what_it_means(prunus):
    outcome = prunus(*SHORT, "--densities", "0.1,0.3", "--methods", "static", "--no-checks", "--timing", 0)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    titles = [line.strip() for line in lines if line.startswith("Pruning methods")]
    about = "Pruning methods compared: lenet-300-100 on digits"
    assert titles == [f"{about}, 30 % kept", f"{about}, 10 % kept"]
    assert sum("this is chance" in line for line in lines) == 2
    assert "shuffled ┃" not in outcome.out
    assert "12 training steps" in outcome.out
    assert lines[-2] == "36 pieces made, 120 training steps run."
    assert prunus("report", "prunus-store", "-o", "page.html").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--methods", "snap"), ("unknown method 'snap', did you mean 'snip'?",)),
        (("--methods", "gone.py:score"), ("gone.py",)),
        (("--methods", "momentum-fine-tuned"), ("this score asks for momenta, which cannot be measured",)),
        (("--methods", "gem-miner"), ("gem-miner takes an epoch, 22 steps",)),
        (("--densities", "0.1;0.2"), ("densities '0.1;0.2' are not numbers",)),
        (("--densities", ""), ("at least one density",)),
        (("--densities", "1.5"), ("density 1.5 is not between 0 and 1",)),
        (("--replicates", 1), ("two seeds at least",)),
        (("--timing", 1), ("two rounds or more, or in none, found 1",)),
        (("--picture", "curves.pdf"), ("must end in .png",)),
        (("--rewind", 7), ("step 7 to rewind to is beyond half of 12",)),
        (("--processes", 0), ("processes must be at least 1",)),
    ],
)
def test_bad_input(prunus, arguments, words):
    refused(prunus(*TASK, *arguments, "--json"), *words)
