"""`sparsify`: a network whose pruned weights cost no time, where that is faster."""

from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from prunus.mask import Mask
from prunus.sparse.choice import Timing, fastest
from prunus.sparse.swapping import compress, opened, swap, swappable


@dataclass(frozen=True)
class Sparsified:
    """What `sparsify` did: the layers that are sparse now, and the weights that the mask names but that stayed dense.

    `mask` is the part of the mask over these, for `hold`. Printed, a line for each with what was measured.
    """

    sparse: tuple[str, ...]
    dense: dict[str, str]  # and why
    timings: dict[str, Timing]  # of layers
    mask: Mask
    compressed: tuple[str, ...] = ()  # those of the sparse ones that are so by `torch.sparse`

    def __str__(self) -> str:
        ways = {layer: "by torch.sparse" if layer in self.compressed else "" for layer in self.sparse}
        lines = [f"{layer}: sparse {way}".rstrip() + self._measured(layer) for layer, way in ways.items()]
        for name, reason in self.dense.items():
            lines.append(f"{name}: dense, {reason}{self._measured(name.removesuffix('.weight'))}")
        return "\n".join(lines)

    def _measured(self, layer: str) -> str:
        return f" ({self.timings[layer]})" if layer in self.timings else ""


def sparsify(
    model: nn.Module,
    mask: Mask,
    *,
    example: Tensor | None = None,
    below: float = 1.0,
    optimizer: Optimizer | None = None,
) -> Sparsified:
    """Swap, in place, the Linear and Conv2d layers that `mask` prunes for layers that hold the kept weights alone.

    With `example`, a batch of inputs, only those with which the network is faster: layers are measured, forwards and
    where they are trained backwards, and at last the whole network; a linear layer that takes and gives batches
    multiplies by `torch.sparse` where that is faster still. Without it, all that can be sparse: no clock
    decides. In both cases no layer whose density is above `below`. A layer's `weight` becomes its `values`
    (kept,), and an `optimizer` goes on with these and what it remembers of them. Layers that follow each other hand on
    batches as the kernels want them. Outputs and gradients are those of the network with the mask applied, up to the
    order of additions; `densify` makes it that again.

    Dense stay layers that are no Linear or Conv2d, that pad otherwise than with zeros, or that share their weight;
    `hold` the mask that is returned for those. Where processes train together, the choice of the first one counts.
    Raises `PrunusError` for names and shapes of the mask that do not fit, and for a network that is already inside
    `DistributedDataParallel`.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> mask = Mask({"0.weight": torch.eye(4, 8).bool(), "2.weight": torch.eye(2, 4).bool()})
    >>> sparsify(model, mask).sparse
    ('0', '2')
    >>> model[0]
    SparseLinear((4, 8), density=0.125, bias=True)
    """
    model = opened(model)
    layers, dense = swappable(model, mask)
    for name, density in mask.densities().items():
        if density > below and layers.pop(name.removesuffix(".weight"), None) is not None:
            dense[name] = f"of density {density:.3g}"
    timings: dict[str, Timing] = {}
    if example is not None:
        with torch.random.fork_rng(devices=()):  # measuring draws numbers
            chosen, timings = fastest(model, layers, example)
        chosen = {name: layers[name] for name in _agreed(list(chosen))}
        dense |= {f"{name}.weight": "which is faster" for name in layers if name not in chosen}
        layers = chosen
    swap(model, layers, optimizer)
    compressed = compress(model, [name for name in layers if name in timings and timings[name].is_faster_compressed])
    left = Mask({name: kept for name, kept in mask.items() if name.rpartition(".")[0] not in layers})
    return Sparsified(tuple(layers), dense, timings, left, compressed)


def _agreed(names: list[str]) -> list[str]:
    """Those of the first process, where processes train together: their clocks differ, their parameters must not."""
    if distributed.is_available() and distributed.is_initialized():
        given = [names]
        distributed.broadcast_object_list(given, src=0)
        return given[0]
    return names
