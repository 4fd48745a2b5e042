from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from prunus import pack
from prunus.checkpoint import read_metadata, read_weights, write_weights
from prunus.errors import FormatError, PrunusError

WEIGHTS = {"fc.weight": torch.randn(3, 4), "fc.bias": torch.zeros(3)}


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "checkpoint",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS, "epoch": 3, "optimizer": {"lr": [0.1]}},
        {"model": {"state_dict": WEIGHTS}},
        {"model_state_dict": WEIGHTS},
        {f"module.{name}": tensor for name, tensor in WEIGHTS.items()},
        {"state_dict": {f"module._orig_mod.{name}": tensor for name, tensor in WEIGHTS.items()}},
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th", ".bin"])
def test_checkpoints_in_the_wild(checkpoint: object, suffix: str, tmp_path: Path) -> None:
    torch.save(checkpoint, tmp_path / f"a{suffix}")
    assert equal(read_weights(tmp_path / f"a{suffix}"), WEIGHTS)


def test_a_prefix_that_only_some_names_have_stays(tmp_path: Path) -> None:
    weights = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(weights, tmp_path / "a.pt")
    assert equal(read_weights(tmp_path / "a.pt"), weights)


def test_the_old_format_of_torch(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert equal(read_weights(tmp_path / "a.pt"), WEIGHTS)


def test_what_needs_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(PrunusError, match=r"a\.pt needs pickle to open, which can run any code it holds") as caught:
        read_weights(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "holds a list, expected a dict of tensors"),
        ({"weight": torch.ones(2), "epoch": 3}, "holds a int under 'epoch', expected a dict of tensors"),
        ({"state_dict": {"weight": [1.0]}}, "holds a list under 'weight'"),
    ],
)
def test_a_checkpoint_without_weights_is_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(PrunusError, match=message):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("old", [False, True])
def test_damaged_checkpoints_are_refused_in_one_sentence(old: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=not old)
    data = path.read_bytes()
    for damaged in (b"", data[:100], data[: len(data) // 2], b"not a checkpoint " * 50):
        path.write_bytes(damaged)
        with pytest.raises(
            PrunusError, match=r"a\.pt (is not a checkpoint that torch can read|needs pickle)"
        ) as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"not safetensors at all")
    for read in (read_weights, read_metadata):
        with pytest.raises(FormatError, match=r"a\.safetensors is not a valid safetensors file"):
            read(path)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrunusError, match=r"ends in '\.onnx', weights are read from files that end in \.safetensors"):
        read_weights(tmp_path / "a.onnx")
    with pytest.raises(PrunusError, match=r"does not end in \.safetensors"):
        write_weights(tmp_path / "a.pt", WEIGHTS)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    for name in ("a.safetensors", "a.pt", "a.prunus"):
        with pytest.raises(FileNotFoundError, match=name):
            read_weights(tmp_path / name)


def test_written_weights_come_back_with_their_metadata(tmp_path: Path) -> None:
    base = torch.randn(6, 6)
    weights = {
        "tied": base,
        "tied.again": base,
        "view": base[2:4],
        "transposed": base.T,
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "half": base.bfloat16(),
        "scalar": torch.tensor(-0.0),
        "empty": torch.empty(0, 2),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    path = tmp_path / "a.safetensors"
    write_weights(path, weights, {"format": "pt"})
    found = read_weights(path)
    assert all(torch.equal(found[name], tensor.detach()) for name, tensor in weights.items())
    assert found["scalar"].signbit()
    assert read_metadata(path) == {"format": "pt"}


def test_packed_weights_are_read_like_any_others(tmp_path: Path) -> None:
    pack.write(tmp_path / "a.prunus", WEIGHTS, metadata={"licence": "MIT"})
    assert equal(read_weights(tmp_path / "a.prunus"), WEIGHTS)
    assert read_metadata(tmp_path / "a.prunus") == {"licence": "MIT"}


def test_a_plain_file_has_no_metadata(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    torch.save(WEIGHTS, tmp_path / "a.pt")
    assert read_metadata(tmp_path / "a.safetensors") == {}
    assert read_metadata(tmp_path / "a.pt") == {}


def test_nothing_is_left_when_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(PrunusError, match="cannot be written as safetensors"):
        write_weights(tmp_path / "a.safetensors", {"a": torch.zeros(2, dtype=torch.complex128)})
    assert list(tmp_path.iterdir()) == []


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    """Oracle: the library's own order of several metadata, which is another one almost every time."""
    notes = {f"note {number}": "é" for number in range(8)}
    copies = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for copy in copies:
        write_weights(copy, {"weight": torch.ones(3)}, metadata=notes)
    assert len({copy.read_bytes() for copy in copies}) == 1
    assert read_metadata(copies[0]) == notes
    assert torch.equal(read_weights(copies[0])["weight"], torch.ones(3))


def test_written_files_can_be_read_by_whom_the_folder_says(tmp_path: Path) -> None:
    """Oracle: a file that Python makes beside it."""
    write_weights(tmp_path / "a.safetensors", {"weight": torch.ones(3)})
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
