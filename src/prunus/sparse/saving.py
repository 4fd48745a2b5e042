"""What a sparse layer writes and reads as its state: the weight with zeros, as the dense layer does."""

from typing import Any

import torch
from torch import Tensor, nn

from prunus import kernel
from prunus.sparse.layers import SparseLayer


def save_densely(layer: SparseLayer) -> None:
    """Let `layer`'s `state_dict` have, and `load_state_dict` take, a `weight` in place of `values`."""
    layer.register_state_dict_post_hook(_write)  # type: ignore[no-untyped-call]
    layer.register_load_state_dict_pre_hook(_read)  # type: ignore[no-untyped-call]


def _write(layer: Any, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    if isinstance(state[f"{prefix}values"], nn.Parameter):  # whoever asks for the variables wants these
        return
    own = {role: state.pop(f"{prefix}{role}") for role in ("values", "bias") if f"{prefix}{role}" in state}
    state[f"{prefix}weight"] = kernel.scattered(own.pop("values"), layer.connections)
    state.update({f"{prefix}{role}": value for role, value in own.items()})


def _read(layer: Any, state: dict[str, Any], prefix: str, metadata: Any, *others: Any) -> None:
    name = f"{prefix}weight"
    if name not in state:
        return
    problems: list[str] = others[-1]
    weight: Tensor = state.pop(name)
    state[f"{prefix}values"] = layer.values.detach()
    if weight.shape != torch.Size(layer.connections.shape):
        problems.append(f"{name}: found {tuple(weight.shape)}, expected {tuple(layer.connections.shape)}.")
        return
    values = kernel.gathered(weight, layer.connections)
    if lost := int(weight.count_nonzero() - values.count_nonzero()):
        problems.append(f"{name}: {lost} weights are not zero where this layer has none; densify the network first.")
        return
    state[f"{prefix}values"] = values
