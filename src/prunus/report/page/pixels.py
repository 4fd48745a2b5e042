"""Masks of a first layer as pictures of its input."""

from math import isqrt

from torch import Tensor


def pixel_map(kept: Tensor) -> Tensor | None:
    """How many weights of `kept` (units, pixels) leave each pixel (side, side) of a square picture.

    Pixels of one place in three channels, the channels one after the other, count together. None for a layer that
    sees no square picture.

    >>> import torch
    >>> pixel_map(torch.tensor([[True, False, False, True], [True, False, False, False]]))
    tensor([[2, 0],
            [0, 1]])
    """
    if kept.ndim != 2:
        return None
    pixels = kept.shape[1]
    for channels in (1, 3):
        side = isqrt(pixels // channels)
        if side > 1 and channels * side * side == pixels:
            return kept.sum(0).reshape(channels, side, side).sum(0)
    return None
