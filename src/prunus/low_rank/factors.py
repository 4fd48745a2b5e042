"""Weights as products of two thin matrices, and layers of such."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

_WINDOW = ("kernel_size", "stride", "padding", "dilation", "padding_mode")


def rank_of(matrix: Tensor, ratio: float) -> int:
    """`ratio` times the full rank of a matrix of this shape, rounded down, but 1 at least."""
    return max(1, int(ratio * min(matrix.shape)))


@torch.no_grad()
def split(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """U (rank, columns) and V (rows, rank), of which V U is the nearest to `weight` (rows, columns) of this rank.

    W = P S Q^T, V = P sqrt(S), U = sqrt(S) Q^T of the `rank` largest singular values; the squared error is the sum of
    the squares of the others (Eckart & Young 1936). Source: Wang et al. 2021, "Pufferfish", algorithm 1.

    >>> u, v = split(torch.tensor([[3.0, 0.0], [0.0, 2.0]]), 1)
    >>> (v @ u).abs().round(decimals=4)
    tensor([[3., 0.],
            [0., 0.]])
    """
    left, values, right = torch.linalg.svd(weight.double(), full_matrices=False)
    roots = values[:rank].sqrt()
    return (roots[:, None] * right[:rank]).to(weight), (left[:, :rank] * roots).to(weight)


class LowRankLinear(nn.Sequential):
    """x to V (U x) + bias, as two linear layers `u` and `v`."""

    def __init__(self, like: nn.Linear, rank: int) -> None:
        kind: dict[str, Any] = {"device": like.weight.device, "dtype": like.weight.dtype}
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["u"] = nn.Linear(like.in_features, rank, bias=False, **kind)
        parts["v"] = nn.Linear(rank, like.out_features, bias=like.bias is not None, **kind)
        super().__init__(parts)

    @property
    def weight(self) -> Tensor:
        """The product (out, in), for those who read a linear layer's weight, as torch's encoder layers do."""
        return self.get_parameter("v.weight") @ self.get_parameter("u.weight")

    @property
    def bias(self) -> Tensor | None:
        """That of `v`."""
        return dict(self.named_parameters()).get("v.bias")


class LowRankConv2d(nn.Sequential):
    """A convolution `u` with the windows of `like` to `rank` channels, with `norm` BatchNorm, and `v` of 1x1."""

    def __init__(self, like: nn.Conv2d, rank: int, *, norm: bool = False) -> None:
        kind: dict[str, Any] = {"device": like.weight.device, "dtype": like.weight.dtype}
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        window = {name: getattr(like, name) for name in _WINDOW}
        parts["u"] = nn.Conv2d(like.in_channels, rank, bias=False, **window, **kind)
        if norm:
            parts["norm"] = nn.BatchNorm2d(rank, **kind)
        parts["v"] = nn.Conv2d(rank, like.out_channels, 1, bias=like.bias is not None, **kind)
        super().__init__(parts)


class Product(nn.Module):
    """A parametrization: a weight of `blocks` equal blocks of rows, each a product of rank `ratio` of its full one."""

    def __init__(self, blocks: int, ratio: float) -> None:
        super().__init__()
        self._blocks, self._ratio = blocks, ratio

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        """(blocks, rank, columns) and (blocks, rows, rank) to (blocks * rows, columns)."""
        return (v @ u).flatten(0, 1)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest factors."""
        return split_blocks(weight, self._blocks, self._ratio)


def split_blocks(weight: Tensor, blocks: int, ratio: float) -> tuple[Tensor, Tensor]:
    """`split` of each of so many equal blocks of rows: (blocks, rank, columns) and (blocks, rows, rank)."""
    parts = weight.detach().chunk(blocks)
    factors = [split(part, rank_of(part, ratio)) for part in parts]
    return torch.stack([u for u, _ in factors]), torch.stack([v for _, v in factors])
