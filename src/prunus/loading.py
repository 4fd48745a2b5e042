"""From a network to a small file, and from a file back to a network that runs."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from prunus import pack
from prunus.checkpoint import read_metadata, read_weights
from prunus.errors import PrunusError
from prunus.models import describe, from_description
from prunus.shrinking import shrink_to_fit
from prunus.tree import check_names, unwrapped


def load(path: str | os.PathLike[str], model: nn.Module | None = None) -> nn.Module:
    """The network in the file at `path`, in evaluation mode, weights and all.

    A file that `prunus compress` or `prunus train` wrote for a built-in network says which one it holds, `shrink`n
    or not; for any other, pass the network (its weights are overwritten). `.prunus`, `.safetensors` and `.pt` files
    are read; for the bare tensors, see `prunus.read`.
    """
    tensors = read_weights(path)
    if model is None:
        description = described(path)
        if description is None:
            raise PrunusError(f"{os.fspath(path)} names no built-in network: pass the one that it belongs to.")
        model = shrink_to_fit(from_description(description), tensors)
    fit(model, tensors)
    return model.eval()


def save(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    effort: pack.Effort = "best",
    drawn: Mapping[str, pack.Drawn] | None = None,
) -> pack.Contents:
    """Write `model`'s weights and buffers to a `.prunus` file at `path`, without loss; what went where.

    A built-in network is named in the file, so that `load` needs nothing else. `drawn`: see `prunus.write`.
    """
    inner = unwrapped(model)
    return pack.write(path, inner.state_dict(), effort=effort, drawn=drawn, model=describe(inner))


def described(path: str | os.PathLike[str]) -> str | None:
    """The built-in network that the file at `path` says its weights belong to, as `from_description` reads it."""
    if Path(path).suffix == ".prunus":
        return pack.peek(path).model
    return read_metadata(path).get("model")


@torch.no_grad()
def fit(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load `tensors` into `model`; `PrunusError` names what is missing, unexpected, misshapen or not finite."""
    inner = unwrapped(model)
    own = inner.state_dict()
    check_names(tensors, own)
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise PrunusError(
                f"{name}: shape {tuple(tensor.shape)} does not fit {type(inner).__name__}'s {tuple(own[name].shape)}."
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise PrunusError(f"{name} holds NaN or infinity.")
    inner.load_state_dict(dict(tensors))
