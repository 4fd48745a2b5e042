"""One layer after the other, each measured behind those that are pruned already."""

from collections.abc import Callable, Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn

from prunus.batches import Batch
from prunus.inputs import input_grams, input_norms
from prunus.mask import Mask
from prunus.tree import Tree, assign, plain_weights, unwrapped


@torch.no_grad()
def in_order(
    model: nn.Module, batches: Iterable[Batch], method: Callable[[Tree, Tree], tuple[Tree, Mask]]
) -> tuple[dict[str, Tensor], Mask]:
    """What `method` makes of each Linear and Conv2d layer, with the grams of the inputs that it has by then.

    `method(weights, grams)` is given one layer at a time, in the order of `model`'s weights, and gives weights and mask
    as those beside it do: a layer makes up for what the layers before it lost too. `model` is not touched.

    Cost: that of `method`, and a pass over `batches` for each layer; memory for one gram.

    >>> from prunus.layerwise import sparsegpt
    >>> model, rows = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(20, 8)
    >>> weights, mask = in_order(model, [(rows, rows)], lambda weights, grams: sparsegpt(weights, grams, 0.5))
    >>> mask
    Mask(30 of 60 kept, density 0.5)
    """
    twin, batches = deepcopy(unwrapped(model)), list(batches)
    masks: dict[str, Tensor] = {}
    for name in input_norms(twin, batches[:1]):
        moved, mask = method({name: plain_weights(twin)[name]}, input_grams(twin, batches, [name]))
        assign(twin, moved)
        masks |= mask
    return plain_weights(twin), Mask(masks)
