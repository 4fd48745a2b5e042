"""Dense layers out, sparse layers in, and back."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from prunus import kernel
from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.sparse.compressed import CompressedLinear
from prunus.sparse.following import join, part
from prunus.sparse.handover import hand_over
from prunus.sparse.layers import SparseConv2d, SparseLinear
from prunus.sparse.saving import save_densely
from prunus.tree import parameters, unwrapped


def swappable(model: nn.Module, mask: Mask) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The layers of `model` that could be sparse, with their part of the mask, and why others that it names could not.

    Raises `PrunusError` for names and shapes that do not fit.
    """
    own = parameters(model)
    layers: dict[str, Tensor] = {}
    reasons: dict[str, str] = {}
    owners = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    for name, kept in mask.items():
        if name not in own:
            raise PrunusError(f"{name} is not a parameter of {type(model).__name__}.")
        if own[name].shape != kept.shape:
            raise PrunusError(f"{name}: mask {tuple(kept.shape)} != weight {tuple(own[name].shape)}.")
        layer, _, role = name.rpartition(".")
        module = model.get_submodule(layer)
        if type(module) not in (nn.Linear, nn.Conv2d) or role != "weight":
            reasons[name] = f"a {role} of {type(module).__name__}"
        elif not layer:
            reasons[name] = "the whole network"
        elif isinstance(module, nn.Conv2d) and (module.padding_mode != "zeros" or isinstance(module.padding, str)):
            reasons[name] = "padded otherwise than with a number of zeros"
        elif owners[id(own[name])] > 1:
            reasons[name] = "a weight that layers share"
        else:
            layers[layer] = kept
    return layers, reasons


def opened(model: nn.Module) -> nn.Module:
    """`model` without its wrappers; `PrunusError` for one that would not see layers swapped inside."""
    if any(isinstance(module, DistributedDataParallel) for module in model.modules()):
        raise PrunusError(
            "the network is inside DistributedDataParallel, which averages the gradients of the parameters that it was "
            "given; wrap it after layers were swapped for the last time."
        )
    return unwrapped(model)


def swap(model: nn.Module, layers: Mapping[str, Tensor], optimizer: Optimizer | None = None) -> None:
    """Make these layers of `model` sparse, by what is kept of them."""
    for name, kept in layers.items():
        old: Any = model.get_submodule(name)
        new = sparse_layer(old, kept)
        replace(model, name, new)
        if optimizer is not None:
            hand_over(optimizer, old.weight, new.values, partial(kernel.gathered, connections=new.connections))
    join(model)


def compress(model: nn.Module, names: Iterable[str]) -> tuple[str, ...]:
    """Let those of these sparse linear layers that take and give batches multiply by `torch.sparse`; their names."""
    layers = {name: model.get_submodule(name) for name in names}
    alone = {name: layer for name, layer in layers.items() if isinstance(layer, SparseLinear) and layer.chain is None}
    for name, layer in alone.items():
        compressed = CompressedLinear.instead_of(layer)
        save_densely(compressed)
        replace(model, name, compressed)
    return tuple(alone)


def sparse_layer(dense: nn.Linear | nn.Conv2d, kept: Tensor) -> SparseLinear | SparseConv2d:
    """The sparse layer with those weights of `dense` that are kept, in its mode."""
    made = SparseLinear.of(dense, kept) if isinstance(dense, nn.Linear) else SparseConv2d.of(dense, kept)
    save_densely(made)
    return made.train(dense.training)


def densify(model: nn.Module, *, optimizer: Optimizer | None = None) -> None:
    """Swap all sparse layers of `model`, in place, for dense ones with exact zeros; the reverse of `sparsify`."""
    model = opened(model)
    part(model)
    for name, old in list(model.named_modules()):
        if isinstance(old, SparseLinear | SparseConv2d):
            new: Any = old.dense()
            replace(model, name, new)
            if optimizer is not None:
                hand_over(optimizer, old.values, new.weight, partial(kernel.scattered, connections=old.connections))


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where `model` has `name`."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
