"""A tensor that was drawn takes a seed and its mask, on every machine; one that only claims so is stored as it is."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prunus import draws, pack
from prunus.checkpoint import DRAWN, drawn_metadata, read_drawn, read_metadata, write_weights
from prunus.distribution import Hyperbolic, SignedConstant, Symmetric, Uniform
from prunus.errors import FormatError, PrunusError
from prunus.pack import Drawn
from prunus.pack.elements import to_integers
from prunus.pack.syntax import varint

from .specification.drawn import words
from .specification.file import read as read_by_the_specification

SYMMETRIC = Drawn(Symmetric(0.3), 5, 2)
CONSTANT = Drawn(SignedConstant(0.05), 2**63 - 1, 2**32 + 1)
HALF = Drawn(SignedConstant(0.25), 1)  # exact in bfloat16, so held in 16 bits
UNIFORM = Drawn(Uniform(-0.61, 0.37), 5, 2)
HYPERBOLIC = Drawn(Hyperbolic(0.7, 8), 2**40, 1)
KINDS = {"symmetric": SYMMETRIC, "constant": CONSTANT, "half": HALF, "uniform": UNIFORM, "hyperbolic": HYPERBOLIC}

NAN, INFINITY = float("nan"), float("inf")


def masked(drawn: Drawn, density: float, shape: tuple[int, ...] = (40, 90)) -> torch.Tensor:
    kept = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < density
    return torch.where(kept, drawn.values(shape), 0)


def test_values_are_those_of_the_words() -> None:
    row = [word for word, _ in zip(words(5, 2), range(300), strict=False)]
    symmetric = [np.float32(0.3 - 0.6 * ((word >> 8) / 2**24)) for word in row]
    assert SYMMETRIC.values((3, 100)).flatten().tolist() == symmetric
    constant = Drawn(SignedConstant(0.3), 5, 2).values((300,))
    assert constant.tolist() == [np.float32(-0.3 if word >> 31 else 0.3) for word in row]
    assert torch.equal(constant.sign(), SYMMETRIC.values((300,)).sign())
    uniform = [np.float32(-0.61 + (0.37 + 0.61) * ((word >> 8) / 2**24)) for word in row]
    assert UNIFORM.values((3, 100)).flatten().tolist() == uniform
    hyperbolic = Drawn(Hyperbolic(0.7, 8), 5, 2).values((300,))
    sizes = [(-1) ** word * 0.7 * 2 ** (-8 * (word >> 8) / 2**24) for word in row]
    assert hyperbolic.tolist() == pytest.approx(sizes, rel=6e-8)  # half a step of single precision
    for drawn in KINDS.values():
        assert torch.equal(drawn.values((20,), first=70), drawn.values((300,))[70:90])


@pytest.mark.parametrize("effort", ["fast", "best"])
@pytest.mark.parametrize("drawn", KINDS.values(), ids=KINDS)
def test_it_takes_a_bit_an_entry_or_less_and_is_drawn_again(drawn: Drawn, effort: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.prunus"
    weight, sparse = masked(drawn, 0.5), masked(drawn, 0.02)
    tensors = {"weight": weight, "bias": torch.zeros(7), "sparse": sparse, "all": drawn.values((40, 90))}
    said = dict.fromkeys(("weight", "sparse", "all"), drawn)
    contents = pack.write(path, tensors, drawn=said, effort=effort)
    sizes = {one.name: one.bytes for one in contents.tensors}
    slack, model = (1.0, 60) if effort == "best" else (1.15, 110)
    assert sizes["weight"] < slack * 3600 / 8 + model
    assert sizes["sparse"] < 3600 * 0.1415 / 8 + model  # the entropy of a mask of density 0.02
    assert sizes["all"] < 50
    found = pack.read(path)
    assert list(found) == list(tensors)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert pack.drawn(path) == {one.name: drawn for one in contents.tensors if one.codec == "drawn"}
    assert {"weight", "all"} <= set(pack.drawn(path))  # a few dozen signs take less than to say how they were drawn
    assert pack.inspect(path) == contents
    by_hand = read_by_the_specification(path)
    assert by_hand == {name: (tuple(t.shape), to_integers(name, t)[2].tolist()) for name, t in found.items()}


@pytest.mark.parametrize(
    "claim",
    [
        Drawn(Uniform(-0.61, 0.37), 6, 2),
        Drawn(Uniform(-0.61, 0.37), 5, 3),
        Drawn(Uniform(-0.61, 0.371), 5, 2),
        SYMMETRIC,
        HYPERBOLIC,
        HALF,
    ],
)
def test_a_claim_that_is_not_true_does_no_harm(claim: Drawn, tmp_path: Path) -> None:
    tensors = {"weight": masked(UNIFORM, 0.1)}
    for name, drawn in (("true", None), ("false", {"weight": claim})):
        contents = pack.write(tmp_path / f"{name}.prunus", tensors, drawn=drawn)
        assert contents.tensors[0].codec != "drawn"
    assert (tmp_path / "true.prunus").read_bytes() == (tmp_path / "false.prunus").read_bytes()


def test_single_entries_may_differ(tmp_path: Path) -> None:
    weight = masked(CONSTANT, 0.3)
    weight[3, 4], weight[5, 6], weight[7, 8] = 1.5, -0.0, float("nan")
    weight[0, 0] = -CONSTANT.values((1,)).item()
    contents = pack.write(tmp_path / "a.prunus", {"weight": weight}, drawn={"weight": CONSTANT})
    assert contents.tensors[0].codec == "drawn"
    assert torch.equal(pack.read(tmp_path / "a.prunus")["weight"].view(torch.int32), weight.view(torch.int32))


def test_of_a_tensor_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PrunusError, match=r"unknown tensor in drawn 'wieght', did you mean 'weight'"):
        pack.write(tmp_path / "a.prunus", {"weight": torch.ones(2)}, drawn={"wieght": HALF})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("uniforn", 0, 0, 0.5), "unknown kind of draws 'uniforn', did you mean 'uniform'"),
        (("uniform", -1, 0, 0.5), "a seed must be at least 0 and below 2\\*\\*63, found -1"),
        (("uniform", 0, 2**63, 0.5), "a stream must be at least 0"),
        (("uniform", 0, 0, NAN), "a scale must be from 2\\*\\*-100 to 2\\*\\*100, found nan"),
        (("signed-constant", 0, 0, NAN), "a scale must be"),
        (("uniform", 0, 0, INFINITY), "a scale must be"),
        (("uniform", 0, 0, -0.5), "a scale must be"),
        (("uniform", 0, 0, 0.0), "a scale must be"),
        (("uniform", 0, 0), "draws of kind 'uniform' take scale, found \\(\\)"),
        (("uniform", 0, 0, -0.5, 0.5), "take scale, found"),
        (("interval", 0, 0, 0.5), "draws of kind 'interval' take low and high, found \\(0.5,\\)"),
        (("interval", 0, 0, 0.5, 0.5), "no weights can be drawn from \\[0.5, 0.5\\], expected low < high"),
        (("interval", 0, 0, 0.5, NAN), "expected low < high"),
        (("interval", 0, 0, -INFINITY, 0.5), "an end of a range must be 0 or from 2\\*\\*-60 to .* found -inf"),
        (("interval", 0, 0, -0.5, INFINITY), "an end of a range must be"),
        (("interval", 0, 0, 0.0, 2.0**101), "an end of a range must be"),
        (("interval", 0, 0, -(2.0**-61), 0.5), "an end of a range must be"),
        (("hyperbolic", 0, 0, 0.5, 3.0), "take high and octaves, found \\(0.5, 3.0\\)"),
        (("hyperbolic", 0, 0, 0.5, 0), "1 octave or more, .* found 0 octaves below 0.5"),
        (("hyperbolic", 0, 0, 1.0, 101), "end at 2\\*\\*-100 or above: found 101 octaves below 1"),
        (("hyperbolic", 0, 0, 1.0, 2**63), "hyperbolic weights need"),
        (("hyperbolic", 0, 0, NAN, 3), "a high must be from"),
        (("hyperbolic", 0, 0, -1.0, 3), "a high must be from"),
    ],
)
def test_what_cannot_be_drawn(arguments: Any, message: str) -> None:
    with pytest.raises(PrunusError, match=message):
        Drawn.stated(*arguments)


def test_the_smallest_values_are_not_subnormal(monkeypatch: pytest.MonkeyPatch) -> None:
    word = 0
    monkeypatch.setattr(draws, "words", lambda *_, **__: np.array([word], np.uint32))
    smallest = 2.0**-60
    word = 2**31  # the middle, where all but the last bits of the two ends cancel
    assert Uniform(-smallest, smallest * (1 + 2**-51)).draw(0, 0, (1,)).item() == 2.0**-112
    assert Uniform(-smallest, smallest).draw(0, 0, (1,)).item() == 0
    word = 2**8
    assert Uniform(0.0, smallest).draw(0, 0, (1,)).item() == 2.0**-84
    word = 2**32 - 2
    assert 2.0**-100 <= Hyperbolic(1.0, 100).draw(0, 0, (1,)).item() < 1.001 * 2.0**-100
    word = 2**31 + 2**8
    assert Symmetric(2.0**-100).draw(0, 0, (1,)).item() == -(2.0**-123)


def test_as_whole_numbers_or_not_it_is_the_same() -> None:
    whole, real = Drawn(Uniform(-1, 1), 3), Drawn(Uniform(-1.0, 1.0), 3)
    array = np.eye(5, dtype=np.uint32)
    assert whole.encode(array) == real.encode(array)
    assert whole.statement() == real.statement() == ["interval", 3, 0, -1.0, 1.0]
    assert [type(part) for part in whole.statement()] == [str, int, int, float, float]


def head(kind: int = 0, seed: int = 0, stream: int = 0, scale: float = 1.0, codec: int = 4) -> bytes:
    return bytes([kind]) + varint(seed) + varint(stream) + struct.pack("<d", scale) + bytes([codec])


def interval(low: float, high: float) -> bytes:
    return bytes([2]) + varint(0) + varint(0) + struct.pack("<dd", low, high) + bytes([4])


def hyperbolic(high: float, octaves: int) -> bytes:
    return bytes([3]) + varint(0) + varint(0) + struct.pack("<d", high) + varint(octaves) + bytes([4])


@pytest.mark.parametrize(
    ("altered", "message"),
    [
        (head(kind=4), "unknown kind 4 of draws"),
        (interval(0.5, -0.5), "expected low < high"),
        (interval(NAN, 0.5), "expected low < high"),
        (interval(0.5, INFINITY), "an end of a range must be"),
        (interval(-1e-30, 1.0), "an end of a range must be"),
        (interval(-0.5, 0.5)[:12], "cut short"),
        (hyperbolic(1.0, 101), "end at 2\\*\\*-100 or above"),
        (hyperbolic(1.0, 2**63 - 1), "end at 2\\*\\*-100 or above"),
        (hyperbolic(1.0, 0), "1 octave or more"),
        (hyperbolic(INFINITY, 3), "a high must be from"),
        (hyperbolic(1.0, 3)[:-2], "cut short"),
        (head(seed=2**63), "an integer that no writer produces"),
        (head(stream=2**63), "an integer that no writer produces"),
        (head(scale=float("nan")), "a scale must be from"),
        (head(scale=2.0**101), "a scale must be from"),
        (head(scale=-1.0), "a scale must be from"),
        (head(codec=6), "codec 6 inside of drawn values"),
        (head(codec=1), "codec 1 inside of drawn values"),
        (head(), "cut short"),
        (head()[:5], "cut short"),
    ],
)
def test_hostile_heads(altered: bytes, message: str) -> None:
    body = HALF.faster().encode(np.zeros((3, 4), np.uint32))[len(head()) :]
    data = altered + (body if len(altered) == len(head()) and altered != head() else b"")
    with pytest.raises(FormatError, match=message):
        HALF.decode(data, (3, 4), np.dtype(np.uint32))


def test_safetensors_say_how_they_were_drawn(tmp_path: Path) -> None:
    said = {**KINDS, "third": Drawn(SignedConstant(1 / 3), 3, 1)}
    path = tmp_path / "a.safetensors"
    write_weights(path, {name: torch.ones(2) for name in said}, {"model": "lenet-5", **drawn_metadata(said)})
    assert read_drawn(path) == said
    assert read_metadata(path)["model"] == "lenet-5"
    write_weights(path, {"a": torch.ones(2)}, drawn_metadata({}))
    assert read_drawn(path) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"a": 3}',
        '{"a": ["uniform", 0, 0]}',
        '{"a": ["uniform", true, 0, 0.5]}',
        '{"a": ["uniform", 0.5, 0, 0.5]}',
        '{"a": ["uniform", -1, 0, 0.5]}',
        '{"a": ["uniform", 0, 0, NaN]}',
        '{"a": ["uniform", 0, 0, 1e999]}',
        '{"a": ["normal", 0, 0, 0.5]}',
        '{"a": ["uniform", 0, 0, 1]}',
        '{"a": ["uniform", 0, 0, [0.5]]}',
        '{"a": ["interval", 0, 0, 0.5]}',
        '{"a": ["interval", 0, 0, 0.5, -0.5]}',
        '{"a": ["interval", 0, 0, -1e999, 0.5]}',
        '{"a": ["hyperbolic", 0, 0, 0.5, true]}',
        '{"a": ["hyperbolic", 0, 0, 0.5, 1.5]}',
        '{"a": ["hyperbolic", 0, 0, 0.5, 99999999999999999999]}',
        '{"a": ["uniform", 0, 99999999999999999999, 0.5]}',
    ],
)
def test_hostile_metadata(text: str, tmp_path: Path) -> None:
    write_weights(tmp_path / "a.safetensors", {"a": torch.ones(2)}, {DRAWN: text})
    with pytest.raises(FormatError, match=r"a\.safetensors: its metadata 'prunus\.drawn' cannot be read: [^\n]*\.$"):
        read_drawn(tmp_path / "a.safetensors")
