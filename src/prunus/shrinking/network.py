"""`shrink`: a smaller network that computes the same, and is checked to."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor, nn

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.shrinking.need import needed
from prunus.shrinking.reading import Reading
from prunus.tree import unwrapped


@torch.no_grad()
def shrink(model: nn.Module, mask: Mask | None = None, *, example: Tensor) -> nn.Module:
    """A copy of `model`, pruned by `mask`, without the units and channels that are constant or that nothing reads.

    Class and names stay; Linear, Conv2d and BatchNorm layers get smaller. What a removed channel constantly gave goes
    into the next layer's bias or, where it has none, into the mean of the BatchNorm behind it. Channels joined by an
    addition go together or not at all, and so do those that a depthwise convolution reads and makes. A channel stays
    where the network could not do without it exactly: a constant other than zero before zero padding or before a layer
    without bias and BatchNorm; the last channel of a layer; those of layers that share weights or are called twice.

    The outputs of the smaller network are checked, in evaluation mode and on the CPU, on `example` (batch, channels,
    ...) and on normal random inputs of that shape: no further from the pruned network's than the square root of the
    machine epsilon, 3.5e-4 in single precision, times the largest output. Raises `PrunusError` where they are, and
    naming the first operator whose channels cannot be followed. `model` is left as it is.

    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> mask = Mask({"0.weight": torch.ones(8, 3, dtype=torch.bool).tril(-3)})
    >>> shrink(model, mask, example=torch.zeros(1, 3))[0]
    Linear(in_features=3, out_features=5, bias=True)
    """
    model = unwrapped(model)
    smaller = copied(model).cpu().eval()
    if mask is not None:
        mask.apply_to(smaller)
    example = example.detach().cpu()
    inputs = [example, torch.randn(example.shape, generator=torch.Generator().manual_seed(0)).to(example)]
    outputs = [_output(smaller, x, "does not run on the example") for x in inputs]
    reading = Reading(smaller)
    reading.run(example.clone())
    _cut(reading)
    for x, output in zip(inputs, outputs, strict=True):
        _check_equal(_output(smaller, x, "cannot be shrunk: with fewer channels it does not run"), output, model)
    for module, twin in zip(smaller.modules(), model.modules(), strict=True):
        module.training = twin.training
    for tensor, original in zip(_tensors(smaller), _tensors(model), strict=True):
        tensor.data = tensor.to(original.device)
    return smaller


def copied(model: nn.Module) -> nn.Module:
    """A copy of `model`; raises `PrunusError` where a weight is no parameter."""
    try:
        return deepcopy(model)
    except RuntimeError as error:  # torch copies no tensor that was computed with gradients
        name = type(model).__name__
        raise PrunusError(f"{name} cannot be copied: a weight of it is computed, make it a parameter first.") from error


def _cut(reading: Reading) -> None:
    """Leave the network that was read the channels that it needs."""
    kept = needed(reading.channels, reading.layers)
    for layer in reading.layers:
        layer.cut(kept[layer.outputs], kept[layer.inputs.channels])
    for depthwise in reading.depthwise:
        depthwise.cut(kept[depthwise.channels])
    for normalisation in reading.normalisations:
        normalisation.cut(kept[normalisation.channels])


def _output(network: nn.Module, x: Tensor, failure: str) -> Tensor:
    name = type(network).__name__
    try:
        output = network(x.clone())
    except Exception as error:  # whatever the network's own code raises
        raise PrunusError(f"{name} {failure} ({_reason(error)}).") from error
    if not isinstance(output, Tensor):
        raise PrunusError(f"{name} cannot be shrunk: its output is a {type(output).__name__}, expected a tensor.")
    return output


def _check_equal(found: Tensor, expected: Tensor, model: nn.Module) -> None:
    largest = float(expected.abs().max())
    difference = float((found - expected).abs().max()) if found.shape == expected.shape else torch.inf
    if not difference <= torch.finfo(expected.dtype).eps ** 0.5 * largest:
        raise PrunusError(
            f"{type(model).__name__} cannot be shrunk: its outputs would differ by {difference:.3g}, "
            f"where the largest is {largest:.3g}."
        )


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    return chain(network.parameters(), network.buffers())
