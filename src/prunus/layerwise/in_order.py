"""One layer after the other, each measured behind those that are pruned already."""

from collections.abc import Callable, Collection, Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn

from prunus.batches import FedBatch
from prunus.errors import PrunusError
from prunus.inputs import input_grams, input_norms
from prunus.mask import Mask
from prunus.tree import Tree, assign, plain_weights, unwrapped


@torch.no_grad()
def in_order(
    model: nn.Module,
    batches: Iterable[FedBatch],
    method: Callable[[Tree, Tree], tuple[Tree, Mask]],
    *,
    blocks: Collection[str] = (),
) -> tuple[dict[str, Tensor], Mask]:
    """What `method` makes of each Linear and Conv2d layer, with the grams of the inputs that it has by then.

    `method(weights, grams)` is given one layer at a time, in the order of `model`'s weights, and gives weights and mask
    as those beside it do: a layer makes up for what the layers before it lost too. `model` is not touched. `blocks` are
    names of modules, such as a transformer's blocks ("encoder.layer.0"): layers inside one are measured together,
    behind the blocks before it, and given to `method` together. The code of SparseGPT and of Wanda does so.

    Cost: that of `method`, and a pass over `batches` for each layer or block; memory for the grams of one.

    Raises `PrunusError` for a block without a layer that runs.

    >>> from prunus.layerwise import sparsegpt
    >>> model, rows = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(20, 8)
    >>> weights, mask = in_order(model, [(rows, rows)], lambda weights, grams: sparsegpt(weights, grams, 0.5))
    >>> mask
    Mask(30 of 60 kept, density 0.5)
    """
    twin, batches = deepcopy(unwrapped(model)), list(batches)
    masks: dict[str, Tensor] = {}
    for names in _groups(input_norms(twin, batches[:1]), blocks):
        own = plain_weights(twin)
        moved, mask = method({name: own[name] for name in names}, input_grams(twin, batches, names))
        assign(twin, moved)
        masks |= mask
    return plain_weights(twin), Mask(masks)


def _groups(names: Iterable[str], blocks: Collection[str]) -> Collection[list[str]]:
    """`names` that are measured together, by the first of each."""
    groups: dict[str, list[str]] = {}
    for name in names:
        home = next((block for block in blocks if name.startswith(f"{block}.")), name)
        groups.setdefault(home, []).append(name)
    for block in blocks:
        if block not in groups:
            raise PrunusError(f"block {block} holds no Linear or Conv2d layer that runs.")
    return groups.values()
