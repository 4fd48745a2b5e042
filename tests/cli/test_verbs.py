"""Every verb on real (small) work: what scripts rely on."""

import json
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prunus import loading, models
from prunus.data import load
from prunus.mask import Mask

COMPRESSION_KEYS = {
    "model",
    "data",
    "seed",
    "density",
    "dense_bytes",
    "file_bytes",
    "ratio",
    "error_dense",
    "error",
    "error_reloaded",
    "seconds",
    "layers",
}


def test_help_imports_no_torch():
    """The half second that `--help` may take is mostly what it imports."""
    code = "import sys; from prunus.cli import run; run(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    for verb in ("train", "evaluate", "prune", "compress", "pack", "unpack", "inspect", "bench", "supermask", "demo"):
        assert verb in done.stdout


@pytest.mark.parametrize(
    "verb", ["train", "evaluate", "prune", "compress", "pack", "unpack", "inspect", "bench", "supermask", "demo"]
)
def test_every_verb_has_json_and_help(prunus, verb):
    outcome = prunus(verb, "--help")
    assert outcome.code == 0
    assert "--json" in outcome.out


def test_train_writes_weights_that_evaluate_reads(prunus, trained):
    assert Path("w.safetensors").stat().st_size == trained["file_bytes"]
    outcome = prunus("evaluate", "lenet-300-100", "--weights", "w.safetensors", "--data", "digits", "--json")
    assert outcome.json["error"] == trained["error"]
    assert outcome.json["density"] > 0.999
    assert [p.name for p in Path().iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("rewiring", ["static", "set", "snfs", "rigl"])
def test_train_sparse_from_the_start(prunus, rewiring):
    how = ("train", "lenet-300-100", "--data", "digits", "--epochs", 12, "--batch", 100, "--seed", 1)
    outcome = prunus(*how, "--density", 0.1, "--rewiring", rewiring, "-o", "s.safetensors", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["density"] == pytest.approx(0.1, abs=1e-4)
    found = load_file("s.safetensors")
    kept = sum(int((found[f"fc{k}.weight"] != 0).sum()) for k in (1, 2, 3))
    assert 4_900 < kept <= 5_020
    refused = prunus(*how, "--density", 0.1, "--rewiring", "rigel", "-o", "t.safetensors")
    assert (refused.code, "did you mean 'rigl'" in refused.err) == (2, True)
    sparse = prunus(*how, *("--density", 0.1, "--rewiring", rewiring, "--sparse-below", 0.2), "-o", "t.safetensors")
    assert sparse.code == 0, sparse.err
    again = load_file("t.safetensors")
    assert all((again[name] != 0).equal(value != 0) for name, value in found.items() if value.ndim == 2)
    assert all(torch.allclose(again[name], value, rtol=1e-2, atol=1e-4) for name, value in found.items())


def test_the_seed_decides_everything(prunus):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        output = ("-o", f"{name}.safetensors")
        assert prunus("train", "fc-500", "--data", "digits", *output, "--epochs", 1, "--seed", seed).code == 0
    first, same, other = (Path(f"{name}.safetensors").read_bytes() for name in "abc")
    assert first == same
    assert first != other


def test_prune_keeps_exactly_the_density(prunus, trained):
    outcome = prunus(
        *("prune", "lenet-300-100", "--weights", "w.safetensors", "--data", "digits"),
        *("--score", "magnitude", "--density", 0.1, "--scope", "tensor"),
        *("-o", "p.safetensors", "--mask", "m.safetensors", "--json"),
    )
    assert outcome.code == 0, outcome.err
    total = 64 * 300 + 300 * 100 + 100 * 10
    pruned = load_file("p.safetensors")
    assert sum(int((t != 0).sum()) for n, t in pruned.items() if n.endswith("weight")) == round(0.1 * total)
    assert outcome.json["density"] == round(0.1 * total) / total
    assert set(load_file("w.safetensors")) == set(pruned)


@pytest.mark.parametrize(
    ("score", "scope", "pattern"),
    [
        ("taylor", "tensor", "element"),
        ("chance", "erk", "element"),
        ("magnitude", "row", "block(2, 4)"),
        ("magnitude", "tensor", "channel(0)"),
        ("obd", "network", "element"),
        ("fisher", "tensor", "element"),
        ("wanda", "row", "element"),
        ("mine.py:largest_first", "network", "element"),
    ],
)
def test_prune_takes_the_words_of_the_python_api(prunus, trained, score, scope, pattern):
    Path("mine.py").write_text("def largest_first(weights):\n    return {n: w for n, w in weights.items()}\n")
    outcome = prunus(
        *("prune", "lenet-300-100", "--weights", "w.safetensors", "--data", "digits", "--score", score),
        *("--scope", scope, "--pattern", pattern, "--density", 0.5, "-o", "p.safetensors", "--json"),
    )
    assert outcome.code == 0, outcome.err
    assert outcome.json["density"] == pytest.approx(0.5, abs=0.01)


def test_prune_in_rounds(prunus, trained):
    """SynFlow at 1 % of the weights, which one shot spends on some layers alone."""
    how = ("prune", "lenet-300-100", "--weights", "w.safetensors", "--data", "digits", "--score", "synflow")
    outcome = prunus(*how, "--density", 0.01, "--rounds", 20, "-o", "p.safetensors", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["density"] == pytest.approx(0.01, rel=0.01)
    assert all(layer["density"] > 0 for layer in outcome.json["layers"])


def test_synflow_needs_no_data(prunus, trained):
    """A built-in network's file says how large an input is; another network's does not."""
    how = ("--weights", "w.safetensors", "--score", "synflow", "--density", 0.1, "--rounds", 3)
    for name, data in (("with.safetensors", ("--data", "digits")), ("without.safetensors", ())):
        outcome = prunus("prune", "lenet-300-100", *how, *data, "-o", name)
        assert outcome.code == 0, outcome.err
    assert Path("with.safetensors").read_bytes() == Path("without.safetensors").read_bytes()
    Path("mine.py").write_text("from prunus.models.lenet import *\ndef net(): return lenet_300_100(1, 8, 8, 10)\n")
    outcome = prunus("prune", "mine.py:net", *how, "-o", "mine.safetensors")
    assert outcome.code == 2
    assert "this score needs the shape of an input" in " ".join(outcome.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("score", "pattern", "rounds"),
    [("magnitude", "channel(0)", 1), ("relevance", "channel(1)", 1), ("taylor", "channel(0)", 3)],
)
def test_prune_and_shrink(prunus, trained, score, pattern, rounds):
    """200 of the 400 hidden units are really gone, and what is left is evaluated and loaded as it is."""
    outcome = prunus(
        *("prune", "lenet-300-100", "--weights", "w.safetensors", "--data", "digits", "--score", score),
        *("--pattern", pattern, "--density", 0.5, "--rounds", rounds, "--shrink", "-o", "p.safetensors", "--json"),
    )
    assert outcome.code == 0, outcome.err
    small = load_file("p.safetensors")
    first, second = (len(small[f"fc{layer}.weight"]) for layer in (1, 2))
    assert first + second == 200
    sizes = {"fc1.weight": (first, 64), "fc2.weight": (second, first), "fc3.weight": (10, second)}
    assert {name: tuple(small[name].shape) for name in sizes} == sizes
    kept = {layer["name"]: round(layer["density"] * prod(layer["shape"])) for layer in outcome.json["layers"]}
    assert kept == {name: prod(shape) for name, shape in sizes.items()}
    evaluated = prunus("evaluate", "lenet-300-100", "--weights", "p.safetensors", "--data", "digits", "--json")
    assert evaluated.code == 0, evaluated.err
    assert evaluated.json["dense_bytes"] < outcome.json["dense_bytes"] / 2
    assert loading.load("p.safetensors").fc1.out_features == first


def test_only_whole_channels_shrink(prunus, trained):
    outcome = prunus(
        *("prune", "lenet-300-100", "--weights", "w.safetensors", "--score", "magnitude", "--density", 0.5),
        *("--shrink", "-o", "p.safetensors"),
    )
    assert outcome.code == 2
    assert "--shrink removes whole channels" in outcome.err
    without_data = prunus(
        *("prune", "lenet-300-100", "--weights", "w.safetensors", "--score", "magnitude", "--density", 0.5),
        *("--pattern", "channel(0)", "--scope", "tensor", "--shrink", "-o", "p.safetensors"),
    )
    assert without_data.code == 0, without_data.err
    assert load_file("p.safetensors")["fc2.weight"].shape == (50, 150)


@pytest.mark.parametrize(
    "options", [("--method", "sparsegpt", "--scope", "row"), ("--score", "wanda", "--scope", "row", "--reconstruct")]
)
def test_methods_move_the_weights_they_keep(prunus, trained, options):
    arguments = ("prune", "lenet-300-100", "--weights", "w.safetensors", "--data", "digits", "--density", 0.25)
    outcome = prunus(*arguments, *options, "-o", "p.safetensors", "--mask", "m.safetensors", "--json")
    assert outcome.code == 0, outcome.err
    before, after, mask = load_file("w.safetensors"), load_file("p.safetensors"), Mask.load("m.safetensors")
    assert outcome.json["density"] == mask.density == 0.25
    for name, kept in mask.items():
        assert (kept.sum(1) == kept.shape[1] / 4).all()
        assert (after[name][~kept] == 0).all()
        assert (after[name] != before[name])[kept].float().mean() > 0.5
    assert torch.equal(after["fc1.bias"], before["fc1.bias"])


@pytest.mark.parametrize("method", ["obs", "l_obs", "woodfisher"])
def test_methods_move_the_weights_of_ones_own_network(prunus, method):
    Path("small.py").write_text(
        "from torch.nn import *\ndef network():\n    return Sequential(Flatten(), Linear(64, 4), Linear(4, 10))\n"
    )
    arguments = ("small.py:network", "--data", "digits", "-o")
    assert prunus("train", *arguments, "w.safetensors", "--epochs", 1).code == 0
    outcome = prunus(
        "prune",
        *arguments,
        "p.safetensors",
        "--weights",
        "w.safetensors",
        *("--method", method),
        *("--density", 0.5, "--json"),
    )
    assert outcome.code == 0, outcome.err
    assert outcome.json["density"] == 0.5
    assert [layer["name"] for layer in outcome.json["layers"]] == ["1.weight", "2.weight"]


def test_two_of_four(prunus, trained):
    outcome = prunus(
        *("prune", "lenet-300-100", "--weights", "w.safetensors", "--data", "digits", "--score", "magnitude"),
        *("--scope", "n_of_m(2, 4)", "--density", 0.5, "-o", "p.safetensors"),
    )
    assert outcome.code == 0, outcome.err
    groups = load_file("p.safetensors")["fc1.weight"].reshape(-1, 4)
    assert ((groups != 0).sum(1) == 2).all()


def test_pack_and_unpack_are_inverse(prunus, trained):
    packed = prunus("pack", "w.safetensors", "w.prunus", "--json")
    assert packed.code == 0, packed.err
    assert packed.json["file_bytes"] == Path("w.prunus").stat().st_size
    assert prunus("unpack", "w.prunus", "back.safetensors").code == 0
    before, after = load_file("w.safetensors"), load_file("back.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].view(torch.int32), after[name].view(torch.int32)) for name in before)


def test_inspect_adds_up_to_the_file(prunus, trained):
    prunus("pack", "w.safetensors", "w.prunus")
    outcome = prunus("inspect", "w.prunus", "--json")
    layers = outcome.json["layers"]
    assert sum(row["bytes"] for row in layers) + outcome.json["overhead_bytes"] == Path("w.prunus").stat().st_size
    assert outcome.json["model"] == "lenet-300-100(1x8x8,10)"
    assert {"name", "shape", "density", "bits_per_weight", "bytes"} <= set(layers[0])
    table = prunus("inspect", "w.prunus").out
    assert "entropy bound" in table
    assert "fc1.weight" in table


def compressed(prunus, *more):
    return prunus(
        *("compress", "lenet-300-100", "--data", "digits", "-o", "c.prunus", "--budget", 0.02, "--density", 0.1),
        *("--json", *more),
    )


def test_compress_tells_what_it_wrote(prunus):
    outcome = compressed(prunus, "--picture", "c.png", "--stages", "stages")
    assert outcome.code == 0, outcome.err
    result = outcome.json
    assert set(result) >= COMPRESSION_KEYS
    assert result["file_bytes"] == Path("c.prunus").stat().st_size
    assert result["ratio"] == result["dense_bytes"] / result["file_bytes"]
    assert result["dense_bytes"] == 4 * (64 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10)
    assert result["error"] == result["error_reloaded"]
    assert result["density"] <= 0.1
    sizes = [stage["file_bytes"] for stage in result["stages"]]
    assert [stage["name"] for stage in result["stages"]] == ["dense", "pruned", "quantised", "coded"]
    assert sizes == sorted(sizes, reverse=True)
    for name in ("pruned", "quantised"):
        file = Path("stages") / f"{name}.prunus"
        assert file.stat().st_size == next(s["file_bytes"] for s in result["stages"] if s["name"] == name)
    assert Path("c.png").read_bytes().startswith(b"\x89PNG")
    checked = prunus("evaluate", "lenet-300-100", "--weights", "c.prunus", "--data", "digits", "--json")
    assert checked.json["error"] == result["error_reloaded"]


def test_compress_leaves_only_its_file(prunus):
    assert compressed(prunus).code == 0
    assert [path.name for path in Path().iterdir()] == ["c.prunus"]


def test_smallest_is_smaller(prunus):
    first = compressed(prunus).json
    second = compressed(prunus, "--recipe", "smallest").json
    assert second["file_bytes"] < first["file_bytes"]
    assert second["error"] == first["error"]


def test_compress_starts_from_given_weights(prunus, trained):
    result = compressed(prunus, "--weights", "w.safetensors").json
    assert result["error_dense"] == trained["error"]


def test_compress_learns_from_a_teacher(prunus, trained):
    """The dense network given as its own teacher changes nothing; another one does."""
    alone = compressed(prunus, "--weights", "w.safetensors").json
    same = compressed(prunus, "--weights", "w.safetensors", "--teacher", "w.safetensors").json
    assert prunus("train", "fc-500", "--data", "digits", "-o", "t.safetensors", "--epochs", 1).code == 0
    other = compressed(prunus, "--weights", "w.safetensors", "--teacher", "t.safetensors").json
    assert {**alone, "seconds": 0} == {**same, "seconds": 0} != {**other, "seconds": 0}


def test_compress_within_an_error(prunus, trained):
    refused = compressed(prunus, "--max-error", 0.01)
    assert refused.code == 2
    assert "above the limit of 0.01 %" in refused.err
    assert not Path("c.prunus").exists()


def test_a_users_own_network(prunus):
    Path("mine.py").write_text(
        "from torch import nn\n"
        "def small(classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, classes))\n"
    )
    outcome = prunus(
        *("compress", "mine.py:small", "--data", "digits", "-o", "c.prunus", "--budget", 0.02, "--density", 0.3),
        "--json",
    )
    assert outcome.code == 0, outcome.err
    assert prunus("evaluate", "mine.py:small", "--weights", "c.prunus", "--data", "digits").code == 0


def test_load_gives_a_network_that_runs(prunus):
    import prunus as library

    result = compressed(prunus).json
    network = library.load("c.prunus")
    assert not network.training
    data = load("digits")
    test = data.test()
    wrong = (network(test.normalise(test.inputs)).argmax(1) != test.labels).float().mean().item()
    assert 100 * wrong == pytest.approx(result["error_reloaded"])
    into = models.build("lenet-300-100", data, seed=5)
    assert library.load("c.prunus", into) is into
    assert torch.equal(into.fc1.weight, network.fc1.weight)


def test_json_is_the_last_line_and_progress_goes_elsewhere(prunus):
    outcome = compressed(prunus)
    json.loads(outcome.out.splitlines()[-1])
    assert len(outcome.out.splitlines()) == 1
    assert "train dense" in outcome.err


def test_a_checkpoint_from_the_wild(prunus, trained):
    state = {f"module.{name}": tensor for name, tensor in load_file("w.safetensors").items()}
    torch.save({"epoch": 3, "state_dict": state}, "wild.pth")
    outcome = prunus("evaluate", "lenet-300-100", "--weights", "wild.pth", "--data", "digits", "--json")
    assert outcome.json["error"] == trained["error"]
    save_file(load_file("w.safetensors"), "plain.safetensors")
    assert prunus("pack", "wild.pth", "wild.prunus").code == 0
