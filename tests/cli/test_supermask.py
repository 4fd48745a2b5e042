"""`prunus supermask`: a file that is a seed and a mask, and what becomes of it elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from prunus import pack
from prunus.checkpoint import read_drawn
from prunus.loading import load

from .refusals import refused

DIGITS = ("lenet-300-100", "--data", "digits", "--epochs", 2, "--seed", 5, "--json")
KEYS = {
    *("model", "data", "seed", "method", "density", "dense_bytes", "file_bytes", "ratio"),
    *("error_validation", "error", "error_reloaded", "seconds", "layers"),
}


@pytest.mark.parametrize(
    ("method", "density"), [("edge-popup", 0.3), ("bernoulli", 0.5), ("gem-miner", 0.1)], ids=lambda value: str(value)
)
def test_each_method(prunus, method, density):
    outcome = prunus("supermask", *DIGITS, "--method", method, "--density", density, "-o", "a.prunus")
    assert outcome.code == 0, outcome.err
    found = outcome.json
    assert set(found) == KEYS
    assert found["file_bytes"] == Path("a.prunus").stat().st_size
    assert found["dense_bytes"] == 4 * (64 * 300 + 300 * 100 + 100 * 10 + 410)
    assert found["file_bytes"] < found["dense_bytes"] / 28
    assert found["error"] == found["error_reloaded"]
    if method == "edge-popup":
        assert found["density"] == 0.3
    assert sum(
        round(layer["density"] * layer["shape"][0] * layer["shape"][-1])
        for layer in found["layers"]
        if len(layer["shape"]) == 2
    ) == round(found["density"] * 50_200)
    assert [path.name for path in Path().iterdir()] == ["a.prunus"]
    checked = prunus("evaluate", "lenet-300-100", "--data", "digits", "--weights", "a.prunus", "--json")
    assert checked.json["error"] == found["error"]
    drawn = pack.drawn("a.prunus")
    assert {one.seed for one in drawn.values()} == {5}
    assert "fc1.weight" in drawn  # others may have so little left that a seed does not pay


@pytest.mark.usefixtures("one_thread")
def test_the_seed_decides_and_packing_knows(prunus):
    """A supermask as safetensors packs as well as the verb does itself; another process gets the same file."""
    rest = (*DIGITS, "--method", "edge-popup", "--density", 0.4)
    assert prunus("supermask", *rest, "-o", "a.prunus").code == 0
    written = prunus("supermask", *rest, "-o", "w.safetensors")
    assert written.code == 0, written.err
    assert written.json["error"] == written.json["error_reloaded"]
    assert prunus("pack", "w.safetensors", "b.prunus").code == 0
    command = [sys.executable, "-m", "prunus.cli", "supermask", *map(str, rest), "-o", "c.prunus"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert Path("c.prunus").read_bytes() == Path("a.prunus").read_bytes()
    assert pack.drawn("b.prunus") == pack.drawn("a.prunus")
    sizes = [Path(name).stat().st_size for name in ("a.prunus", "b.prunus")]
    assert abs(sizes[0] - sizes[1]) < 10  # safetensors have another order of names
    assert prunus("unpack", "a.prunus", "again.safetensors").code == 0
    assert Path("again.safetensors").read_bytes() == Path("w.safetensors").read_bytes()
    assert read_drawn("again.safetensors") == read_drawn("a.prunus") == pack.drawn("a.prunus")
    tensors, network = load_file("w.safetensors"), load("a.prunus")
    assert all((tensors[name] == value).all() for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "edge-pop", "--density", 0.5), ("--method", "edge-pop")),
        (("--method", "edge-popup"), ("--density",)),
        (("--method", "edge-popup", "--density", 0), ("density 0.0 is outside (0, 1]",)),
        (("--method", "gem-miner", "--density", 1.5), ("density 1.5 is outside (0, 1]",)),
        (("--method", "bernoulli", "--density", 1), ("above 0 and below 1 at first, found 1.0",)),
        (("--method", "gem-miner", "--density", 0.5, "--scope", "row"), ("--scope is not an option of", "gem-miner")),
        (("--method", "edge-popup", "--density", 0.5, "--every", 2), ("--every is not an option of", "edge-popup")),
        (("--method", "gem-miner", "--density", 0.5, "--every", 0), ("every",)),
        (("--method", "gem-miner", "--density", 0.5, "--strength", -1), ("strength -1.0",)),
        (("--method", "edge-popup", "--density", 0.5, "--scope", "rwo"), ("unknown scope 'rwo', did you mean 'row'?",)),
        (("--method", "edge-popup", "--density", 0.5, "--seed", -1), ("a seed must be at least 0", "found -1")),
        (("--method", "edge-popup", "--density", 0.5, "--start", "normal"), ("--start", "normal")),
        (("--method", "edge-popup", "--density", 0.5, "--epochs", -1), ("epochs must be at least 0",)),
        (("--method", "edge-popup", "--density", 0.5, "-o", "a.pt"), ("must end in .prunus or .safetensors",)),
    ],
    ids=str,
)
def test_bad_input(prunus, arguments, words):
    output = () if "-o" in arguments else ("-o", "a.prunus")
    refused(prunus("supermask", "lenet-300-100", "--data", "digits", *arguments, *output), *words)
    assert list(Path().iterdir()) == []


def test_metadata_that_lies(prunus):
    """It is stored like any other network, or refused where it makes no sense."""
    from prunus.checkpoint import write_weights

    assert prunus("train", "lenet-300-100", "--data", "digits", "-o", "w.safetensors", "--epochs", 1).code == 0
    weights = load_file("w.safetensors")
    for number, (text, words) in enumerate(
        [
            ('{"fc1.weight": ["uniform", 0, 0, 0.5]}', None),
            ('{"fc1.weight": ["uniform", 0, 0, NaN]}', ("prunus.drawn", "a scale must be")),
            ('{"fc1.weight": ["noraml", 0, 0, 0.5]}', ("prunus.drawn", "unknown kind of draws 'noraml'")),
            ('{"fc9.weight": ["uniform", 0, 0, 0.5]}', ("unknown tensor in drawn 'fc9.weight'",)),
        ]
    ):
        write_weights("lying.safetensors", weights, {"prunus.drawn": text})
        outcome = prunus("pack", "lying.safetensors", f"{number}.prunus", "--effort", "fast")
        if words:
            refused(outcome, *words)
            assert not Path(f"{number}.prunus").exists()
        else:
            assert outcome.code == 0, outcome.err
            assert all((tensor == weights[name]).all() for name, tensor in pack.read(f"{number}.prunus").items())
            assert pack.drawn(f"{number}.prunus") == {}
