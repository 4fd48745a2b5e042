"""`kill -9` of a whole search on the command line, three times; taken up, it leaves the bytes of one undisturbed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prunus.cli import run
from prunus.store import opened

from .searches import contents

COMMAND = ["ticket", "lenet-300-100", "--data", "digits", "--rounds", "2", "--steps", "150"]
MOMENTS = [
    ["checkpoint.safetensors", 2, "before"],  # in the dense run: the new checkpoint has no name yet
    ["[0-9a-f]{16}", 2, "before"],  # the first mask is finished, and has no place in the store yet
    ["checkpoint.safetensors", 5, "after"],  # in a later run
]


def test_killed_three_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = Path(__file__).with_name("killed.py")
    command = [*COMMAND, "--store", str(tmp_path / "killed")]
    script = [sys.executable, str(program), json.dumps(MOMENTS), *command]
    done = subprocess.run(
        script, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [-signal.SIGKILL] * 3
    store = opened(tmp_path / "killed")
    hidden = [path.name for path in store.path.rglob(".*")]
    assert any(name.endswith(".unfinished") for name in hidden)
    assert 2 <= len(store.runs()) < 6
    for name in store.runs():
        assert store.specification_of(name)
        assert store.metrics_of(name) is not None
    assert run(command) == 0
    assert run([*COMMAND, "--store", str(tmp_path / "undisturbed")]) == 0
    assert contents(store) == contents(opened(tmp_path / "undisturbed"))
    assert len(store.runs()) == 6
