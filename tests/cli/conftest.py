"""A command line run inside the test: exit code, last line as JSON, messages."""

import json
from dataclasses import dataclass

import pytest

from prunus.cli import run


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out.splitlines()[-1])


@pytest.fixture
def prunus(capsys, tmp_path, monkeypatch):
    """`prunus("train", "lenet-300-100", ...)` in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def trained(prunus):
    """A network trained for one epoch, in w.safetensors."""
    outcome = prunus("train", "lenet-300-100", "--data", "digits", "-o", "w.safetensors", "--epochs", 1, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.json
