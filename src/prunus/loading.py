"""From a network to a small file, and from a file back to a network that runs."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from prunus import pack
from prunus.checkpoint import read_metadata, read_weights
from prunus.errors import PrunusError
from prunus.kernel.codebook import packed_smaller
from prunus.kernel.codebook_linear import CodebookLinear
from prunus.models import describe, from_description
from prunus.shrinking import shrink_to_fit
from prunus.tree import check_names, unwrapped

Form = Literal["dense", "sparse"]


def load(path: str | os.PathLike[str], model: nn.Module | None = None, *, as_: Form = "dense") -> nn.Module:
    """The network in the file at `path`, in evaluation mode, weights and all.

    A file that `prunus compress` or `prunus train` wrote for a built-in network says which one it holds, `shrink`n
    or not; for any other, pass the network (its weights are overwritten). `.prunus`, `.safetensors` and `.pt` files
    are read; for the bare tensors, see `prunus.read`.

    `as_="sparse"` is for inference on the CPU: `nn.Linear` layers that are less than half as large when packed become
    `CodebookLinear` layers, which multiply straight from the packed entries. Convolutions stay dense, and so do weights
    that are used twice; no parameter asks for a gradient. Of a `.prunus` file, one tensor at a time is made dense.
    """
    if as_ not in ("dense", "sparse"):
        raise PrunusError(f"a network is loaded as 'dense' or 'sparse', found {as_!r}.")
    if as_ == "sparse":
        return _load_sparse(path, model)
    tensors = read_weights(path)
    if model is None:
        model = shrink_to_fit(from_description(_described(path)), tensors)
    fit(model, tensors)
    return model.eval()


@torch.no_grad()
def _load_sparse(path: str | os.PathLike[str], model: nn.Module | None) -> nn.Module:
    if Path(path).suffix == ".prunus":
        outlines, tensors = pack.outlines(path), pack.stream(path)
    else:
        outlines = read_weights(path)
        tensors = iter(outlines.items())
    if model is None:
        with torch.device("meta"):
            model = from_description(_described(path))
            model = shrink_to_fit(model, {name: torch.empty_like(t, device="meta") for name, t in outlines.items()})
    _check_fit(model, outlines)
    return _fill_sparse(unwrapped(model), tensors).requires_grad_(False).eval()


def _fill_sparse(model: nn.Module, tensors: Iterator[tuple[str, Tensor]]) -> nn.Module:
    """`model` with these weights, those of its linear layers packed where that pays."""
    own = model.state_dict(keep_vars=True)
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    packed = {}
    for name, tensor in tensors:
        _check_finite(name, tensor)
        path, _, leaf = name.rpartition(".")
        linear = leaf == "weight" and type(model.get_submodule(path)) is nn.Linear and uses[id(own[name])] == 1
        matrix = packed_smaller(tensor) if linear and own[name].dtype == torch.float32 else None
        if matrix is not None:
            packed[path] = matrix
        elif own[name].is_meta:
            value = torch.empty_like(own[name], device="cpu").copy_(tensor)
            model.load_state_dict({name: value}, strict=False, assign=True)
        else:
            own[name].copy_(tensor)
    for path, matrix in packed.items():
        layer = model.get_submodule(path)
        assert isinstance(layer, nn.Linear)
        small = CodebookLinear(matrix, layer.bias)
        if not path:
            return small
        model.set_submodule(path, small)
    return model


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
    _check_fit(model, tensors)
    for name, tensor in tensors.items():
        _check_finite(name, tensor)
    unwrapped(model).load_state_dict(dict(tensors))


def _check_fit(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    inner = unwrapped(model)
    own = inner.state_dict()
    check_names(tensors, own)
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise PrunusError(
                f"{name}: shape {tuple(tensor.shape)} does not fit {type(inner).__name__}'s {tuple(own[name].shape)}."
            )


def _check_finite(name: str, tensor: Tensor) -> None:
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise PrunusError(f"{name} holds NaN or infinity.")


def _described(path: str | os.PathLike[str]) -> str:
    description = described(path)
    if description is None:
        raise PrunusError(f"{os.fspath(path)} names no built-in network: pass the one that it belongs to.")
    return description
