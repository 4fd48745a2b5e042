"""Weights in files: `.safetensors`, `.prunus`, and the `.pt` checkpoints found in the wild; never by pickle."""

import json
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file

from prunus import pack
from prunus.errors import FormatError, PrunusError
from prunus.files import sort_metadata, written_whole
from prunus.pack import Drawn

PICKLED = (".pt", ".pth", ".th", ".bin", ".ckpt")
NESTED = ("state_dict", "model_state_dict", "model")
DRAWN = "prunus.drawn"  # the key of a safetensors file's metadata that says how its tensors were drawn
WRAPPERS = ("module.", "_orig_mod.")  # put before every name by DistributedDataParallel and torch.compile


def read_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, on the CPU, under the names the bare model uses.

    A `.pt`, `.pth`, `.th`, `.bin` or `.ckpt` file is opened without running code from it, the weights are looked
    for under `state_dict`, `model_state_dict` or `model`, and a `module.` before every name is dropped.
    PrunusError for a file that needs pickle or holds no weights, FormatError for a damaged one.
    """
    path = Path(path)
    if path.suffix == ".prunus":
        return pack.read(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except safetensors.SafetensorError as error:
            raise FormatError(f"{path} is not a valid safetensors file: {error}.") from None
    if path.suffix in PICKLED:
        return _state_dict(path, _load(path))
    known = ", ".join((".safetensors", ".prunus", *PICKLED))
    raise PrunusError(f"{path} ends in {path.suffix!r}, weights are read from files that end in {known}.")


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The free text that a `.safetensors` or `.prunus` file carries beside its tensors; empty for others."""
    path = Path(path)
    if path.suffix == ".prunus":
        return dict(pack.peek(path).metadata)
    if path.suffix == ".safetensors":
        try:
            with safetensors.safe_open(path, "pt") as file:
                return dict(file.metadata() or {})
        except safetensors.SafetensorError as error:
            raise FormatError(f"{path} is not a valid safetensors file: {error}.") from None
    return {}


def read_drawn(path: str | os.PathLike[str]) -> dict[str, Drawn]:
    """How tensors of a `.safetensors` or `.prunus` file were drawn, where it says so; empty for others.

    Only of a `.prunus` file is it known to be true. FormatError for what is no such statement.
    """
    if Path(path).suffix == ".prunus":
        return pack.drawn(path)
    text = read_metadata(path).get(DRAWN)
    if text is None:
        return {}
    try:
        stated = json.loads(text)
        if not isinstance(stated, dict) or not all(map(_is_statement, stated.values())):
            raise ValueError("expected names with a kind, a seed, a stream and parameters each")
        return {name: Drawn.stated(*statement) for name, statement in stated.items()}
    except (ValueError, RecursionError) as error:
        reason = str(error).rstrip(".") or "it is nested too deep"
        raise FormatError(f"{os.fspath(path)}: its metadata '{DRAWN}' cannot be read: {reason}.") from None


def _is_statement(value: object) -> bool:
    return (
        isinstance(value, list)
        and [type(part) for part in value[:3]] == [str, int, int]
        and {type(part) for part in value[3:]} <= {int, float}
    )


def drawn_metadata(drawn: Mapping[str, Drawn]) -> dict[str, str]:
    """What to give `write_weights` as metadata, so that `read_drawn` knows how tensors were drawn."""
    if not drawn:
        return {}
    return {DRAWN: json.dumps({name: one.statement() for name, one in drawn.items()})}


def write_weights(
    path: str | os.PathLike[str], tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `tensors` bit for bit to a `.safetensors` file, whole or not at all.

    Tensors that share memory (tied weights) are each written in full.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.safetensors"
    >>> write_weights(path, {"a": torch.arange(3), "b": torch.ones(2, 2).T})
    >>> read_weights(path)["a"]
    tensor([0, 1, 2])
    """
    if Path(path).suffix != ".safetensors":
        raise PrunusError(f"{path} does not end in .safetensors, the format that plain weights are written in.")
    memory: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        start = plain.untyped_storage().data_ptr()
        separate[name] = plain.clone() if start in memory else plain
        memory.add(start)
    with written_whole(path) as temporary:
        try:
            save_file(separate, temporary, dict(metadata or {}))
        except (safetensors.SafetensorError, KeyError) as error:
            raise PrunusError(f"{path} cannot be written as safetensors: {error}.") from None
        if metadata:
            sort_metadata(temporary)


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the checkpoint's own format
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "truncated" in str(error):
            raise FormatError(f"{path} is not a checkpoint that torch can read: it is cut short.") from None
        raise PrunusError(
            f"{path} needs pickle to open, which can run any code it holds; save model.state_dict() instead."
        ) from None
    except OSError:
        raise
    except Exception as error:  # a damaged file makes the unpickler fail in any way there is
        first = str(error).splitlines()[0].split(". ")[0].rstrip(".") if str(error) else "it is cut short"
        raise FormatError(f"{path} is not a checkpoint that torch can read: {first}.") from None


def _state_dict(path: Path, found: Any) -> dict[str, torch.Tensor]:
    while isinstance(found, Mapping):
        inner = next((found[key] for key in NESTED if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    if not isinstance(found, Mapping):
        raise PrunusError(f"{path} holds a {type(found).__name__}, expected a dict of tensors.")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise PrunusError(f"{path} holds a {type(value).__name__} under {name!r}, expected a dict of tensors.")
    tensors = dict(found)
    for wrapper in WRAPPERS:
        if tensors and all(name.startswith(wrapper) for name in tensors):
            tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    return tensors
