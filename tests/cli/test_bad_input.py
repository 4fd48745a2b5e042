"""Bad input: one clear sentence, exit code 2, nothing half-written."""

import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file


def refused(outcome, *words):
    assert outcome.code == 2, outcome.out
    assert "Traceback" not in outcome.err
    message = " ".join(outcome.err.replace("│", " ").split())
    for word in words:
        assert word in message, message
    return message


@pytest.fixture
def before():
    """The files there were; checked afterwards with `unchanged`."""
    return lambda: sorted(path.name for path in Path().rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "lenet-3000-100", "--data", "digits"), ("unknown model", "did you mean 'lenet-300-100'?")),
        (("train", "lenet-300-100", "--data", "mnits"), ("unknown data", "did you mean 'mnist'?")),
        (("train", "lenet-300-100", "--data", "digits", "--optimizer", "adm"), ("did you mean 'adam'?",)),
        (("train", "missing.py:net", "--data", "digits"), ("no file 'missing.py'",)),
        (("train", "json:missing", "--data", "digits"), ("json", "missing")),
        (("train", "lenet-300-100", "--data", "digits", "--epochs", "-3"), ("epochs",)),
        (
            ("train", "lenet-300-100", "--data", "digits", "--sparse-below", "0.2"),
            ("--sparse-below", "a --density too"),
        ),
        (
            ("train", "lenet-300-100", "--data", "digits", "--density", "0.1", "--sparse-below", "-1"),
            ("sparse_below must be from 0", "found -1.0"),
        ),
        (("train", "lenet-300-100", "--data", "digits", "--batch", "0"), ("batch",)),
        (("train", "lenet-300-100", "--data", "digits", "--batch", "5000"), ("batch 5000 is larger",)),
        (("train", "vgg-16", "--data", "digits"), ("vgg-16", "16x16")),
        (("train", "lenet-300-100", "--data", "digits", "--seed", "x"), ("--seed",)),
        (("compress", "lenet-300-100", "--data", "digits", "--density", "0"), ("density 0.0 is outside (0, 1]",)),
        (("compress", "lenet-300-100", "--data", "digits", "--density", "1.5"), ("density 1.5 is outside (0, 1]",)),
        (("compress", "lenet-300-100", "--data", "digits", "--bits", "40"), ("40 bits",)),
        (("compress", "lenet-300-100", "--data", "digits", "--budget", "0"), ("budget 0.0",)),
        (("compress", "lenet-300-100", "--data", "digits", "--recipe", "smalest"), ("--recipe", "smalest")),
        (("compress", "lenet-300-100", "--data", "digits", "--dense"), ("--dense",)),
    ],
    ids=lambda value: " ".join(value[:6]) if isinstance(value, tuple) and len(value) > 3 else None,
)
def test_names_and_values(prunus, before, arguments, words):
    suffix = ".prunus" if arguments[0] == "compress" else ".safetensors"
    refused(prunus(*arguments, "-o", f"out{suffix}"), *words)
    assert before() == []


def test_an_unknown_verb(prunus):
    refused(prunus("compres"), "compres", "compress")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--score", "magnitud", "--density", 0.5), ("unknown score 'magnitud', did you mean 'magnitude'?",)),
        (("--score", "magnitude", "--density", 2), ("density 2.0 is outside (0, 1]",)),
        (("--score", "magnitude", "--density", 0.5, "--scope", "networks"), ("did you mean 'network'?",)),
        (("--score", "magnitude", "--density", 0.5, "--pattern", "blok(2, 2)"), ("did you mean 'block'?",)),
        (("--score", "magnitude", "--density", 0.5, "--pattern", "block(7, 7)"), ("do not divide", "300 x 64")),
        (("--score", "magnitude", "--density", 0.5, "--pattern", "block(a)"), ("whole numbers in parentheses",)),
        (("--score", "taylor", "--density", 0.5), ("needs gradients: give --data",)),
        (("--score", "wanda", "--density", 0.5), ("needs input norms: give --data",)),
        (("--score", "magnitude", "--reconstruct", "--density", 0.5), ("measures the network on data: give --data",)),
        (("--method", "sparsegpt", "--density", 0.5), ("measures the network on data: give --data",)),
        (("--method", "sparsegtp", "--density", 0.5), ("unknown method 'sparsegtp', did you mean 'sparsegpt'?",)),
        (
            ("--method", "obs", "--data", "digits", "--density", 0.5),
            ("the inverse Hessian of all 50,200 weights would take 19 GiB: prune by woodfisher",),
        ),
        (("--method", "l_obs", "--score", "magnitude", "--density", 0.5), ("either --score or --method",)),
        (("--method", "l_obs", "--pattern", "channel", "--density", 0.5), ("leave out --reconstruct, --pattern",)),
        (("--method", "l_obs", "--rounds", 5, "--density", 0.5), ("leave out", "--rounds")),
        (("--density", 0.5), ("either --score or --method",)),
        (("--score", "movement", "--density", 0.5), ("give --initial",)),
        (("--score", "momentum", "--data", "digits", "--density", 0.5), ("asks for momenta, which cannot be",)),
        (("--score", "prunus.structured:component", "--density", 0.5), ("call prunus.prune with variances=... in",)),
        (("--score", "magnitude", "--density", 0.00002), ("nothing of its", "would be kept")),
        (("--score", "gone.py:mine", "--density", 0.5), ("no file 'gone.py'",)),
    ],
    ids=lambda value: " ".join(map(str, value[1:])) if isinstance(value, tuple) and len(value) > 3 else None,
)
def test_prune_options(prunus, trained, options, words):
    arguments = ("prune", "lenet-300-100", "--weights", "w.safetensors", "-o", "p.safetensors")
    refused(prunus(*arguments, *options), *words)
    assert not Path("p.safetensors").exists()


def test_weights_that_do_not_fit(prunus, trained):
    arguments = ("evaluate", "fc-500", "--weights", "w.safetensors", "--data", "digits")
    refused(prunus(*arguments), "unexpected fc1.bias, fc2.bias, fc3.bias and 1 more")


def test_weights_with_nan(prunus, trained):
    tensors = load_file("w.safetensors")
    tensors["fc2.weight"][0, 0] = float("nan")
    save_file(tensors, "nan.safetensors")
    arguments = ("lenet-300-100", "--weights", "nan.safetensors", "--data", "digits")
    refused(prunus("evaluate", *arguments), "fc2.weight holds NaN")
    refused(prunus("compress", *arguments, "-o", "c.prunus"), "fc2.weight holds NaN")
    assert not Path("c.prunus").exists()


def test_a_loss_that_diverges_names_the_step(prunus):
    outcome = prunus(
        *("train", "lenet-300-100", "--data", "digits", "-o", "d.safetensors", "--epochs", 3, "--optimizer", "sgd"),
        *("--learning-rate", 1e30),
    )
    refused(outcome, "step", "NaN or infinity")
    assert not Path("d.safetensors").exists()


class Trap:
    def __reduce__(self):
        return os.system, ("touch trapped",)


def test_a_checkpoint_that_needs_pickle(prunus):
    Path("evil.pt").write_bytes(pickle.dumps(Trap()))
    torch.save(Trap(), "evil2.pt")
    for name in ("evil.pt", "evil2.pt"):
        refused(prunus("pack", name, "out.prunus"), name)
        assert not Path("trapped").exists()
        assert not Path("out.prunus").exists()


def test_files_that_are_not_what_they_claim(prunus, trained):
    prunus("pack", "w.safetensors", "good.prunus")
    good = Path("good.prunus").read_bytes()
    length = struct.unpack("<Q", good[:8])[0]
    header = json.loads(good[8 : 8 + length])
    header["__metadata__"]["prunus"] = "99"
    newer = json.dumps(header).encode()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 4
    bad = {
        "truncated": good[: len(good) // 2],
        "empty": b"",
        "flipped": bytes(flipped),
        "future": struct.pack("<Q", len(newer)) + newer + good[8 + length :],
        "text": b"hello " * 100,
        "weights": Path("w.safetensors").read_bytes(),
    }
    for name, content in bad.items():
        Path(f"{name}.prunus").write_bytes(content)
        refused(prunus("unpack", f"{name}.prunus", "out.safetensors"))
        assert not Path("out.safetensors").exists()
    refused(prunus("unpack", "future.prunus", "out.safetensors"), "version 99")


def test_files_that_are_not_there(prunus):
    refused(prunus("pack", "gone.safetensors", "out.prunus"), "gone.safetensors", "No such file")
    refused(prunus("inspect", "gone.prunus"), "gone.prunus", "No such file")
    refused(prunus("evaluate", "lenet-300-100", "--weights", "gone.pt", "--data", "digits"), "gone.pt", "No such file")


def test_output_that_cannot_be_written(prunus, trained):
    refused(prunus("pack", "w.safetensors", "nowhere/out.prunus"), "nowhere", "No such file")
    refused(prunus("train", "lenet-300-100", "--data", "digits", "-o", "nowhere/w.safetensors"), "nowhere", "No such")


def test_output_that_could_not_be_read_again(prunus, trained):
    refused(prunus("pack", "w.safetensors", "w.zip"), "must end in .prunus")
    refused(prunus("train", "lenet-300-100", "--data", "digits", "-o", "w"), "must end in .safetensors")
    Path("folder.prunus").mkdir()
    refused(prunus("pack", "w.safetensors", "folder.prunus"), "folder.prunus is a folder")


def test_a_full_disk(prunus, trained):
    """/dev/full stands for one: every write to it fails with ENOSPC."""
    if not Path("/dev/full").exists():
        pytest.fail("this test needs /dev/full (any Linux)")
    from prunus import files

    original = files.secrets.token_hex
    Path(".out.prunus.full.tmp").symlink_to("/dev/full")
    try:
        files.secrets.token_hex = lambda _: "full"
        refused(prunus("pack", "w.safetensors", "out.prunus"), "No space left on device")
    finally:
        files.secrets.token_hex = original
    assert not Path("out.prunus").exists()
