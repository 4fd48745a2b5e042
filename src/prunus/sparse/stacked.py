"""Sparse layers that follow each other in an `nn.Sequential`, with their ReLU: one step of autograd for all."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.compiler import is_compiling
from torch.nn.modules import module as modules

from prunus.kernel import Layer, stack, stack_of_batches
from prunus.sparse.layers import SparseConv2d, SparseLinear


class StackedSequential(nn.Sequential):
    """An `nn.Sequential` that computes the same; where a module has hooks, as always, so that they see what it does."""

    def forward(self, inputs: Any) -> Any:
        """As `nn.Sequential`."""
        if not isinstance(inputs, Tensor) or is_compiling() or modules._has_any_global_hook():
            return super().forward(inputs)  # type: ignore[no-untyped-call]
        parts, place = list(self._modules.values()), 0
        while place < len(parts):
            layers, following = _stretch(parts, place)
            inputs = _computed(inputs, layers) if layers else parts[place](inputs)
            place = following
        return inputs

    def _get_name(self) -> str:
        return nn.Sequential.__name__


def _stretch(parts: Sequence[Any], place: int) -> tuple[list[tuple[Any, bool]], int]:
    """The layers from a place on that hand on lanes, with whether ReLU follows, and the place behind what is read."""
    layers: list[tuple[Any, bool]] = []
    while place < len(parts) and _hands_on(parts[place]) and (not layers or parts[place].takes_lanes):
        rectified = place + 1 < len(parts) and _is_plain(parts[place + 1], nn.ReLU)
        layers.append((parts[place], rectified))
        place += 1 + rectified
        if not layers[-1][0].gives_lanes:
            break
    return layers, place if layers else place + 1


def _hands_on(module: Any) -> bool:
    return _is_plain(module, SparseLinear, SparseConv2d) and module.chain is not None


def _is_plain(module: nn.Module, *kinds: type) -> bool:
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return type(module) in kinds and not hooks and "forward" not in module.__dict__


def _computed(inputs: Tensor, layers: Sequence[tuple[Any, bool]]) -> Tensor:
    (first, _), (last, _) = layers[0], layers[-1]
    made = [Layer(layer.values, layer.bias, layer.connections, rectified) for layer, rectified in layers]
    if first.chain.takes_batch(inputs, made, first.takes_lanes):
        return stack_of_batches(inputs, made)
    if not first.takes_lanes:
        first.chain.batch = len(inputs)
    batch = None if last.gives_lanes else first.chain.batch
    return stack(inputs, made, first.takes_lanes, batch)
