"""What of a mask lies on a way from an input to an output: layers that collapsed, weights that do nothing."""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from prunus.errors import PrunusError
from prunus.evidence import flows
from prunus.mask import Mask
from prunus.tree import unwrapped, weights

_AVERAGES = {f"{kind}max_pool{n}d": getattr(F, f"{kind}avg_pool{n}d") for kind in ("", "adaptive_") for n in (1, 2, 3)}
_NORMS = ("layer_norm", "group_norm", "instance_norm", "rms_norm")


def effective(model: nn.Module, mask: Mask, example: Tensor) -> Mask:
    """The entries of `mask` that lie on a path of kept entries from some input to some output of `model`.

    Idea: an entry whose unit gets nothing, or whose unit nothing reads, may be kept and still does nothing; the density
    of the entries that do is the effective one, by which methods that empty layers are compared fairly.
    Formula: with kept weights positive and biases zero, entries with w dR/dw > 0: `evidence.flows` sums over paths.
    Source: Vysogorets & Kempe 2023, "Connectivity matters: neural network pruning through the lens of effective
    sparsity".
    Use: `effective(...).density` beside `mask.density`; `collapsed` for whole tensors.
    Cost: a gradient of one input.
    Differs: every entry of a kernel counts by itself, so those that only ever meet padding are not effective. Biases
    make no path. A maximum counts as a way from all of its window.

    `example` is an input (1, ...). Weights that the mask does not name are kept. Raises `PrunusError` for layers other
    than linear ones, convolutions and BatchNorm, and for a network that gives something for nothing.
    """
    if missing := [name for name in mask if name not in weights(model)]:
        raise PrunusError(f"not among the weights of {type(model).__name__}: {', '.join(missing[:3])}.")
    network = deepcopy(unwrapped(model)).double()
    _make_positive(network)
    for name, weight in weights(network).items():
        kept = mask[name].to(weight.device) if name in mask else torch.ones_like(weight, dtype=torch.bool)
        rows = kept.flatten(1).sum(1).clamp(min=1).reshape(-1, *[1] * (kept.ndim - 1))  # or deep networks overflow
        weight.data.copy_(kept / rows)
    _check_silent(network, example)
    with _Averages():
        found = flows(network, example)
    return Mask({name: kept & (found[name] > 0).to(kept.device) for name, kept in mask.items()})


def collapsed(model: nn.Module, mask: Mask, example: Tensor) -> list[str]:
    """The tensors of which nothing that `mask` keeps lies on a path from an input to an output: dead, empty or cut off.

    One empty tensor cuts off all others on its way, unless there is another way, as past a residual block.

    >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> first, last = torch.tensor([[True, True], [False, False]]), torch.tensor([[False, True]])
    >>> collapsed(network, Mask({"0.weight": first, "2.weight": last}), torch.zeros(1, 2))
    ['0.weight', '2.weight']
    """
    return [name for name, kept in effective(model, mask, example).items() if not kept.any()]


class _Averages(TorchFunctionMode):
    """Pooling takes averages instead of maxima: a maximum sends its gradient one way only."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "").removesuffix("_with_indices").lstrip("_")
        if name in _NORMS:
            raise PrunusError(f"paths through {name} cannot be followed.")
        if name in _AVERAGES:
            return _averaged(name, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _averaged(
    name: str,
    values: Tensor,
    size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    if name.startswith("adaptive"):
        return _AVERAGES[name](values, size)  # type: ignore[no-any-return]
    if return_indices or dilation not in (1, (1, 1), [1, 1]):
        raise PrunusError(f"paths through {name} with indices or dilation cannot be followed.")
    return _AVERAGES[name](values, size, stride or size, padding, ceil_mode)  # type: ignore[no-any-return]


@torch.no_grad()
def _make_positive(network: nn.Module) -> None:
    """No biases, and BatchNorm that changes nothing."""
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            module.reset_parameters()
        elif isinstance(module, nn.Linear | _ConvNd):
            if module.bias is not None:
                module.bias.zero_()
        elif next(module.parameters(recurse=False), None) is not None:
            raise PrunusError(f"paths through '{name}', a {type(module).__name__}, cannot be followed.")


@torch.no_grad()
def _check_silent(network: nn.Module, example: Tensor) -> None:
    training = network.training
    outputs = network.eval()(torch.zeros_like(example, dtype=torch.float64))
    network.train(training)
    if outputs.any():
        raise PrunusError(f"{type(network).__name__} gives something for an input of zeros, so paths cannot be told.")
