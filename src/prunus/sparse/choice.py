"""Which layers are faster sparse: measured on a batch of the network's own inputs, once a shape."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from prunus import kernel
from prunus.modes import mode
from prunus.sparse.chain import Chain
from prunus.sparse.compressed import CompressedLinear, is_available
from prunus.sparse.layers import SparseLayer, SparseLinear
from prunus.sparse.swapping import sparse_layer, swap

ROUNDS = 5


@dataclass(frozen=True)
class Timing:
    """Seconds of a layer forwards, and backwards where it is trained: dense, sparse, and sparse among its like.

    Of linear layers also by `torch.sparse`, where that runs: see `CompressedLinear`.
    """

    dense: float
    sparse: float
    on_lanes: float
    torch_sparse: float | None = None

    @property
    def is_faster_compressed(self) -> bool:
        """Whether from batch to batch `torch.sparse` wins over both."""
        return self.torch_sparse is not None and self.torch_sparse < min(self.dense, self.sparse)

    def __str__(self) -> str:
        line = f"dense {1e3 * self.dense:.3g} ms, sparse {1e3 * self.sparse:.3g} ms, {1e3 * self.on_lanes:.3g} on lanes"
        return line if self.torch_sparse is None else f"{line}, torch.sparse {1e3 * self.torch_sparse:.3g} ms"


@torch.random.fork_rng(devices=[])
@torch.enable_grad()
def fastest(
    model: nn.Module, layers: Mapping[str, Tensor], example: Tensor
) -> tuple[dict[str, Tensor], dict[str, Timing]]:
    """Those of `layers` with which the network is fastest, and how long each of them takes.

    Networks are compared as wholes, in the mode that `model` is in: with no sparse layer, with those that are faster by
    themselves, with those that are where they need not turn batches into lanes and back, and with all.
    """
    shapes = _input_shapes(model, layers, example)
    timings = {name: _timed(model.get_submodule(name), layers[name], shapes[name]) for name in layers if name in shapes}
    if not timings:
        return {}, timings
    alone = {name: layers[name] for name, timing in timings.items() if timing.sparse < timing.dense}
    among = {name: layers[name] for name, timing in timings.items() if timing.on_lanes < timing.dense}
    candidates: list[dict[str, Tensor]] = [{}]
    for one in (alone, among, {name: layers[name] for name in timings}):
        if all(one.keys() != other.keys() for other in candidates):
            candidates.append(one)
    networks = [_network(model, candidate).train(model.training and len(example) > 1) for candidate in candidates]
    seconds = _medians([_step(network, example) for network in networks])
    return candidates[min(range(len(candidates)), key=seconds.__getitem__)], timings


def _input_shapes(model: nn.Module, layers: Mapping[str, Tensor], example: Tensor) -> dict[str, torch.Size]:
    """Of the layers that are called, the shapes of what they are given."""
    shapes: dict[str, torch.Size] = {}

    def note(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes[name] = inputs[0].shape

    handles = [model.get_submodule(name).register_forward_pre_hook(partial(note, name)) for name in layers]
    try:
        with mode(model, training=False), torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _timed(layer: Any, kept: Tensor, shape: torch.Size) -> Timing:
    trained = layer.weight.requires_grad
    window = (layer.stride, layer.padding, layer.dilation, layer.groups) if isinstance(layer, nn.Conv2d) else ()
    key = (layer.weight.shape, window, layer.bias is None, int(kept.sum()), shape, trained, torch.get_num_threads())
    if key not in _KNOWN:
        dense = deepcopy(layer)
        dense.weight.data.mul_(kept)
        sparse = sparse_layer(layer, kept)
        inputs = torch.randn(shape, dtype=layer.weight.dtype, requires_grad=trained)
        flat = inputs.detach().flatten(0, -2) if isinstance(layer, nn.Linear) else inputs.detach()
        lanes = kernel.to_lanes(flat).requires_grad_(trained)
        steps = [_step(dense, inputs), _step(sparse, inputs), _step(_on_lanes(sparse), lanes)]
        if isinstance(sparse, SparseLinear) and is_available(inputs):
            steps.append(_step(CompressedLinear.instead_of(sparse), inputs))
        _KNOWN[key] = Timing(*_medians(steps))
    return _KNOWN[key]


_KNOWN: dict[Hashable, Timing] = {}


def _on_lanes(layer: SparseLayer) -> SparseLayer:
    layer = deepcopy(layer)
    layer.chain, layer.takes_lanes, layer.gives_lanes = Chain(), True, True
    return layer


def _network(model: nn.Module, layers: Mapping[str, Tensor]) -> nn.Module:
    network = deepcopy(model)
    swap(network, layers)
    return network


def _step(network: nn.Module, inputs: Tensor) -> Callable[[], None]:
    """Forwards and, where there are gradients, backwards; nothing is left of it."""
    wanted = [tensor for tensor in (inputs, *network.parameters()) if tensor.requires_grad]

    def step() -> None:
        outputs = network(inputs)
        if wanted:
            torch.autograd.grad(outputs, wanted, torch.ones_like(outputs), allow_unused=True)

    return step


def _medians(steps: Sequence[Callable[[], None]]) -> list[float]:
    """The median seconds of each, in turns."""
    seconds: list[list[float]] = [[] for _ in steps]
    for number in range(ROUNDS + 1):
        for step, found in zip(steps, seconds, strict=True):
            start = perf_counter()
            step()
            if number:  # the first may compile
                found.append(perf_counter() - start)
    return [median(found) for found in seconds]
