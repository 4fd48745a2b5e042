"""The ReLU diamonds of Pensia et al. 2020, Theorem 1, and of da Cunha et al. 2022 for convolutions.

Two random layers stand for one. Of the first, all is pruned but a block of n hidden units for each input x: those with
weight u > 0 hold u relu(x), those with u < 0 hold |u| relu(-x). The second has n random weights v from an input's block
to each output. As w x = w relu(x) - w relu(-x), a weight w needs two subsets: the sum of u v over the first half, and
over the second, has to be w. Outputs share the hidden units, and have weights v of their own.
"""

import torch
from torch import Tensor, nn

from prunus.construction.layer import Draw, Layer, Pick, Replacement


def diamond(layer: Layer, items: int, nonnegative: bool, draw: Draw, pick: Pick) -> Replacement:
    """Two random layers and a ReLU between; `items` hidden units for each input, about half of them of either sign.

    A convolution's first layer is 1x1. Inputs that are never below zero, as behind a ReLU, leave the second half out.
    """
    outputs, inputs, height, width = layer.kernel.shape
    first, second = draw((inputs * items, inputs, 1, 1)), draw((outputs, inputs * items, height, width))
    owners = torch.arange(inputs)[:, None]
    blocks = owners * items + torch.arange(items)  # (in, n): the hidden units of each input
    u = first[blocks, owners, 0, 0]  # (in, n)
    v = second.unflatten(1, (inputs, items)).movedim(2, -1)  # (out, in, height, width, n)
    kept, errors = torch.zeros_like(v, dtype=torch.bool), []
    for sign in (1,) if nonnegative else (1, -1):
        kernel = layer.kernel.clone()
        if sign < 0 and layer.biased:
            kernel[:, -1] = 0  # as one is positive
        chosen = _half(kernel, u.where(u * sign > 0, 0), v, pick)
        errors.append(_sums(chosen, u, v) - kernel.double())
        kept |= chosen
    first_kept = torch.zeros_like(first, dtype=torch.bool)
    first_kept[blocks, owners, 0, 0] = kept.any(0).flatten(1, 2).any(1)
    return Replacement(
        [*layer.prepared(), layer.random(first), nn.ReLU(), layer.random(second, layer.stride)],
        [first_kept, kept.movedim(-1, 2).reshape(second.shape)],
        torch.stack(errors),
        _sums(kept, u.abs(), v.abs()),
        terms=inputs * items * height * width + inputs,
    )


def _half(kernel: Tensor, u: Tensor, v: Tensor, pick: Pick) -> Tensor:
    """Which hidden units, of those where u (in, n) is not 0, each weight of `kernel` keeps: (*kernel.shape, n)."""
    most = max(int((u != 0).sum(1).max()), 1)
    places = (u == 0).byte().argsort(dim=1, stable=True)[:, :most]  # (in, most): those on offer first
    first = u.gather(1, places)[:, None, None].expand(*kernel.shape, most)
    places = places[:, None, None].expand(*kernel.shape, most)
    second = v.gather(-1, places)
    kept = pick(kernel.flatten(), (first.reshape(-1, most), second.reshape(-1, most)))
    return torch.zeros(v.shape, dtype=torch.bool).scatter_(-1, places, kept.reshape(places.shape))


def _sums(kept: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """The sum of u v over the units kept, of each weight, in double precision."""
    return (kept * u.double()[:, None, None] * v).sum(-1)
