"""A run that stops, by itself or killed, goes on from its checkpoint and ends with the same bits."""

import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from prunus.errors import FormatError, PrunusError
from prunus.training import train

from .runs import DIGITS, SETTINGS, Counter, noisy, run, run_script, same


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("stop", [1, 13, 26, 49])  # an epoch is 13 steps
def test_resumed_run_ends_with_the_same_bits(tmp_path: Path, stop: int, optimizer: str) -> None:
    undisturbed, history = run(None, optimizer=optimizer)
    run(tmp_path / "run", stop=stop, optimizer=optimizer)
    resumed, again = run(tmp_path / "run", optimizer=optimizer)
    assert same(resumed, undisturbed)
    assert again == history


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first, history = run(tmp_path / "run")

    def refuse(*_: object) -> Tensor:
        raise AssertionError("trained again")

    model = noisy()
    counter = Counter(model)
    again = train(
        model, DIGITS, SETTINGS, seed=1, loss=refuse, stateful={"count": counter}, checkpoint=tmp_path / "run"
    )
    assert same(model, first)
    assert again == history


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: a.update(seed=2), "its seed is 1, not 2"),
        (lambda a: a.update(settings=dataclasses.replace(SETTINGS, batch=90)), "its batch is 100, not 90"),
        (lambda a: a["model"].fc1.weight.data.mul_(2), "its start is"),
        (lambda a: a.update(data=dataclasses.replace(DIGITS, fingerprint="x")), "its data is .* digits, not x"),
    ],
)
def test_checkpoint_of_another_run_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    arguments = {"model": noisy(), "data": DIGITS, "settings": SETTINGS, "seed": 1}
    train(**arguments, checkpoint=tmp_path / "run")  # type: ignore[arg-type]
    arguments["model"] = noisy()
    change(arguments)
    before = [value.clone() for value in arguments["model"].state_dict().values()]  # type: ignore[attr-defined]
    with pytest.raises(PrunusError, match=sentence):
        train(**arguments, checkpoint=tmp_path / "run")  # type: ignore[arg-type]
    after = arguments["model"].state_dict().values()  # type: ignore[attr-defined]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_broken_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"nothing of the kind")
    with pytest.raises(FormatError, match="run is not a snapshot file"):
        run(tmp_path / "run")


KILLED = """
import os, signal, sys
from training.runs import run

path, moment, place = sys.argv[1], int(sys.argv[2]), sys.argv[3]
replace, writes = os.replace, 0

def counted(source, target):
    global writes
    writes += 1
    if place == "after":
        replace(source, target)
    if writes == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    if place == "before":
        replace(source, target)

os.replace = counted
run(path)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_killed_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    undisturbed, history = run(None)
    for moment, place in (("2", "after"), ("17", "before"), ("20", "after")):
        assert run_script(tmp_path, KILLED, str(tmp_path / "run"), moment, place) == -signal.SIGKILL
    resumed, again = run(tmp_path / "run")
    assert same(resumed, undisturbed)
    assert again == history
