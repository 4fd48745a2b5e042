"""`prunus approximate`: the file it writes loads, runs, and is what it says."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import prunus as library
from prunus import pack
from prunus.checkpoint import read_drawn, read_metadata
from prunus.data import load
from prunus.evaluation import evaluate
from prunus.mask import Mask
from prunus.recipe import random_network
from prunus.store import Store

from .refusals import refused

OPTIONS = ("--items", 20, "--epsilon", 0.02)


@pytest.mark.parametrize(
    ("options", "suffix"),
    [
        ((*OPTIONS, "--minimise", "kept"), ".safetensors"),
        (("--construction", "diamond", "--minimise", "kept", "--items", 30, "--epsilon", 0.02), ".prunus"),
        (("--construction", "epsilon-net", *OPTIONS), ".safetensors"),
        (("--construction", "golden", *OPTIONS), ".prunus"),
    ],
)
def test_a_trained_network(prunus, trained, options, suffix):
    output = f"random{suffix}"
    outcome = prunus(
        *("approximate", "w.safetensors", *options, "--data", "digits", "--seed", 3, "-o", output, "--json")
    )
    assert outcome.code == 0, outcome.err
    found = outcome.json
    network = library.load(output)
    test = load("digits").test()
    assert found["error"] == evaluate(network, test).error
    assert found["error_dense"] == evaluate(library.load("w.safetensors"), test).error
    assert abs(found["error"] - found["error_dense"]) < 5
    kept = Mask.of_nonzero(network)
    assert found["kept_weights"] == kept.kept
    assert found["random_weights"] == kept.total
    assert found["density"] == kept.density
    assert [layer["name"] for layer in found["layers"]] == list(kept)
    assert found["target_weights"] == 64 * 300 + 300 * 100 + 100 * 10 + 410
    assert found["model"] == "lenet-300-100(1x8x8,10)"
    assert 0.5 < found["within_epsilon"] <= 1
    assert (found["max_error"] <= 0.02) == (found["within_epsilon"] == 1)
    assert found["bound"] > 0
    assert 0 < found["solve_seconds"] < found["seconds"]
    assert found["file_bytes"] == Path(output).stat().st_size
    assert found["dense_bytes"] == 4 * found["target_weights"]
    assert found["ratio"] == found["dense_bytes"] / found["file_bytes"]
    assert list(read_drawn(output)) == list(kept)
    if suffix == ".safetensors":  # as large as the random network; packed, a seed and a mask
        assert prunus("pack", output, "packed.prunus", "--effort", "fast").code == 0
        assert all(map(torch.equal, library.load("packed.prunus").parameters(), network.parameters()))
        assert pack.drawn("packed.prunus") == read_drawn(output)
        output = "packed.prunus"
    assert Path(output).stat().st_size < found["dense_bytes"]
    assert read_metadata(output)["seed"] == "3"


def test_the_table(prunus, trained):
    outcome = prunus("approximate", "w.safetensors", *OPTIONS, "--data", "digits", "-o", "random.safetensors")
    assert outcome.code == 0, outcome.err
    file_bytes = Path("random.safetensors").stat().st_size
    for words in ("1,012,200", "20.00", "202,440", f"{file_bytes:,}", "test error", "met within 0.02", "(certified)"):
        assert words in outcome.out
    assert outcome.out.count("%") == 3  # the target's error, that of what runs, and the share within epsilon


def test_plain_weights_are_a_network(prunus):
    torch.manual_seed(0)
    target = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3, bias=False))
    save_file(target.state_dict(), "plain.safetensors")
    outcome = prunus("approximate", "plain.safetensors", *OPTIONS, "-o", "random.prunus", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["target_weights"] == 50
    assert "error" not in outcome.json
    x = torch.randn(4, 6)
    x /= x.norm(dim=1, keepdim=True)
    distances = (library.load("random.prunus")(x) - target(x)).norm(dim=1)
    assert float(distances.detach().max()) <= outcome.json["bound"] + 1e-6


def test_the_same_seed_gives_the_same_file(prunus, trained):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        prunus("approximate", "w.safetensors", *OPTIONS, "--seed", seed, "-o", f"{name}.safetensors")
    one, same, other = (Path(f"{name}.safetensors").read_bytes() for name in "abc")
    assert one == same != other


def test_what_it_takes_is_kept_for_a_report(prunus, trained, monkeypatch):
    monkeypatch.setattr(random_network, "TARGETS", 500)
    outcome = prunus("approximate", "w.safetensors", *OPTIONS, "-o", "random.prunus", "--store", "store")
    assert outcome.code == 0, outcome.err
    assert "prunus report store -o page.html" in outcome.out
    studies = {study["kind"]: study for study in Store("store").studies()}
    assert studies.keys() == {"charts", "table"}
    assert studies["charts"]["title"] == "A random network contains w.safetensors"
    assert prunus("report", "store", "-o", "page.html", "--json").json["runs"] == 9
    assert prunus("lineage", "store").out.count("approximated seed") == 3


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("gone.safetensors", (), "No such file or directory: gone.safetensors"),
        ("w.safetensors", ("--items", 0), "items: found 0"),
        ("w.safetensors", ("--items", 200), "items: found 200"),
        ("w.safetensors", ("--epsilon", -1), "epsilon: found -1"),
        ("w.safetensors", ("--epsilon", "nan"), "epsilon: found nan"),
        ("w.safetensors", ("--construction", "diamonds"), "--construction"),
        ("w.safetensors", ("--minimise", "both"), "--minimise"),
        ("w.safetensors", ("--model", "lenet-3000"), "unknown model"),
        ("w.safetensors", ("--model", "fc-500"), "unexpected fc1.bias"),
        ("w.safetensors", ("--data", "mnits"), "did you mean 'mnist'?"),
        ("w.safetensors", ("-o", "out.zip"), "must end in .safetensors"),
        ("w.safetensors", ("--store", "."), "not a store and not an empty folder"),
        ("bare.safetensors", (), "give the model"),
    ],
)
def test_bad_input(prunus, trained, target, options, words):
    tensors = load_file("w.safetensors")
    save_file({"fc1.weight": tensors["fc1.weight"], "fc3.weight": tensors["fc3.weight"]}, "bare.safetensors")
    given = {"--items": 20, "--epsilon": 0.02, "-o": "out.safetensors"} | dict(
        zip(options[::2], options[1::2], strict=True)
    )
    refused(prunus("approximate", target, *(part for pair in given.items() for part in pair)), words)
    assert not Path(str(given["-o"])).exists()


def test_a_network_that_is_no_chain(prunus):
    assert prunus("train", "resnet-20", "--data", "digits", "--epochs", 0, "-o", "r.safetensors").code == 0
    refused(prunus("approximate", "r.safetensors", *OPTIONS, "-o", "out.prunus"), "ResNet cannot be approximated")
