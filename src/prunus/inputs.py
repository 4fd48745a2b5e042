"""What layers read: norms and inner products of their inputs, streamed over batches in double precision."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prunus.batches import FedBatch, Inputs, feed
from prunus.errors import PrunusError
from prunus.modes import mode
from prunus.tree import weights

AT_ONCE = 1 << 24  # entries of unfolded inputs


@torch.no_grad()
def input_norms(model: nn.Module, batches: Iterable[FedBatch]) -> dict[str, Tensor]:
    """The Euclidean norm, over all rows and places, of each input of the weights of Linear and Conv2d layers.

    Shapes that multiply the weights: (1, in), (1, in, height, width), and (out, in, height, width) with groups. In
    evaluation mode; sums in double precision on the weights' device. A weight that several layers share, or one layer
    uses often, reads all that they read. Embeddings and layers that don't run are left out. `batches` yields (inputs,
    anything); inputs that are a mapping are keyword arguments, and where there is an `attention_mask` (rows, places),
    what a Linear layer reads at places where that is 0 is left out: padding. Raises `PrunusError` without batches, or
    where an input is not finite.
    """
    sums = _streamed(model, batches, lambda inputs: inputs.square().sum(1))  # {name: (groups, columns)}
    own = weights(model)
    norms = {}
    for name, total in sums.items():
        norm = total.sqrt().reshape(-1, *own[name].shape[1:])
        norms[name] = norm if len(norm) == 1 else norm.repeat_interleave(len(own[name]) // len(norm), 0)
    return norms


@torch.no_grad()
def input_grams(
    model: nn.Module, batches: Iterable[FedBatch], names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """X^T X of the inputs X (rows and places, columns) of the weights of Linear and Conv2d layers, (columns, columns).

    Columns are a weight's entries behind the first dimension, flattened; with groups it is (groups, columns, columns).
    With `names`, of those weights alone. Otherwise as `input_norms`.
    Cost: columns^2 a row, which for a convolution is one a place; memory columns^2 a layer.
    """
    sums = _streamed(model, batches, lambda inputs: inputs.mT @ inputs, names)
    return {name: total[0] if len(total) == 1 else total for name, total in sums.items()}


def _streamed(
    model: nn.Module,
    batches: Iterable[FedBatch],
    summed: Callable[[Tensor], Tensor],
    only: Collection[str] | None = None,
) -> dict[str, Tensor]:
    """Sums over the inputs (groups, rows, columns) of every weight of a layer that runs, in the weights' order."""
    names = {id(weight): name for name, weight in weights(model).items() if only is None or name in only}
    sums: dict[str, Tensor] = {}
    attended: Tensor | None = None

    def note(layer: Any, args: tuple[Tensor, ...]) -> None:
        name = names.get(id(layer.weight))
        if name is None:
            return
        for inputs in columns(layer, _without_padding(layer, args[0], attended)):
            found = summed(inputs)
            sums[name] = sums[name] + found if name in sums else found

    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        with mode(model, training=False):
            for inputs, _ in batches:
                attended = _attended(inputs)
                feed(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if not sums:
        raise PrunusError(f"inputs of {type(model).__name__} need at least one batch, and a Linear or Conv2d layer.")
    for name, total in sums.items():
        if not torch.isfinite(total).all():
            raise PrunusError(f"{name}: the inputs hold NaN or infinity.")
    return {name: sums[name] for name in names.values() if name in sums}


def _attended(inputs: Inputs) -> Tensor | None:
    """Which places are no padding, (rows, places), where inputs say so."""
    mask: Tensor | None = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    return None if mask is None else mask.bool()


def _without_padding(layer: nn.Module, inputs: Tensor, attended: Tensor | None) -> Tensor:
    if attended is None or not isinstance(layer, nn.Linear) or inputs.shape[:-1] != attended.shape:
        return inputs
    return inputs[attended.to(inputs.device)]


def columns(layer: nn.Linear | nn.Conv2d, inputs: Tensor) -> Iterator[Tensor]:
    """What the layer multiplies its weight with, (groups, rows, columns) in double precision, some rows at a time."""
    if isinstance(layer, nn.Linear):
        yield inputs.reshape(1, -1, inputs.shape[-1]).double()
        return
    padding = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = nn.functional.pad(inputs, layer._reversed_padding_repeated_twice, mode=padding).double()
    entries = padded[0].numel() * layer.weight[0, 0].numel()
    for some in padded.split(max(1, AT_ONCE // entries)):
        places = nn.functional.unfold(some, layer.kernel_size, layer.dilation, stride=layer.stride)  # (B, columns, L)
        yield places.unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)
