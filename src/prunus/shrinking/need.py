"""Which channels of a network are needed: those that its output reads, and backwards from there."""

from collections.abc import Sequence

import torch
from torch import Tensor

from prunus.shrinking.channels import Channels
from prunus.shrinking.layers import Layer


def needed(channels: Channels, layers: Sequence[Layer]) -> Tensor:
    """Which of `channels` (count,) must stay: the pinned, what a staying one is made of, and all joined to these.

    Everything else may go. A layer of which nothing would stay keeps its cheapest channel, for it could not run.
    """
    groups = channels.groups()
    stays = torch.zeros(len(groups), dtype=torch.bool)
    stays[groups[channels.pinned]] = True
    _spread(stays, groups, layers)
    for layer in reversed(layers):
        if not stays[groups[layer.outputs]].any():
            stays[groups[layer.outputs[layer.cheapest()]]] = True
            _spread(stays, groups, layers)
    return stays[groups]


def _spread(stays: Tensor, groups: Tensor, layers: Sequence[Layer]) -> None:
    """Let what is read by staying outputs stay too, until nothing changes."""
    grown = True
    while grown:
        before = int(stays.sum())
        for layer in reversed(layers):
            rows = stays[groups[layer.outputs]]
            stays[groups[layer.inputs.channels[layer.reads(rows)]]] = True
        grown = int(stays.sum()) > before
