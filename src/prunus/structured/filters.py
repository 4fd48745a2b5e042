"""Filters chosen layer after layer, each by what is left of it."""

from collections.abc import Mapping

import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.pattern import channel
from prunus.pruning import Score, prune
from prunus.scope import together
from prunus.score import magnitude
from prunus.shrinking import Wiring
from prunus.shrinking.wiring import without
from prunus.tree import Tree, weights


@torch.no_grad()
def prune_greedily(
    model: nn.Module | Tree, densities: Mapping[str, float], channels: Wiring, *, score: Score = magnitude
) -> Mask:
    """The mask that keeps of each layer in `densities` this part of its filters, and of all layers what reads those.

    Idea: small filters make weak maps; layer after layer the smallest go, with their maps and the kernels that read
    these. Greedy: kernels that have gone already do not count.
    Formula: s_j = sum_i |F_ij|, the kernels of filter j.
    Source: Li et al. 2017, "Pruning filters for efficient ConvNets", sections 3.1 to 3.3.
    Use: trained convolutional networks that are trained on afterwards, without data: `shrink` with the mask. The
    independent strategy, where all kernels count, is the grammar alone: `prune(model, magnitude, density,
    pattern=channel(0), scope=together(channels.outputs, tensor))`, with `given(...)` for densities of each layer, and
    `spread(mask, channels)`. Both go over residual networks: a channel that an addition joins to one of an earlier
    layer follows what was decided there, so the first layer of a trunk decides for it, and where `densities` do not
    name that, the trunk stays.
    Cost: one pass over the weights.
    Differs: the paper lets the last layer of a block follow the shortcut's projection, where there is one; here the
    first of the two in the network's order decides.

    `score` is a function of weights alone. Raises `PrunusError` for a name that is no layer's, and where a layer would
    keep nothing.
    """
    own = weights(model) if isinstance(model, nn.Module) else model
    if unknown := [name for name in densities if name not in channels.outputs]:
        raise PrunusError(f"no layer makes channels with {', '.join(unknown[:3])}.")
    gone, decided = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    for name, numbers in channels.outputs.items():
        if name in densities:
            open_ = numbers.where(~torch.isin(numbers, decided), -1)
            left = own[name] * without(name, own[name].shape, channels, gone).to(own[name].device)
            kept = prune({name: left}, score, densities[name], pattern=channel(0), scope=together({name: open_}))
            gone = torch.cat([gone, numbers[~kept[name].flatten(1).any(1).cpu()]])
        decided = torch.cat([decided, numbers])
    return Mask({n: without(n, own[n].shape, channels, gone).to(own[n].device) for n in channels.outputs})
