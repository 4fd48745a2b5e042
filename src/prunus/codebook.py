"""A tensor whose kept entries share a few values."""

from dataclasses import dataclass
from math import ceil, log2

import torch
from torch import Tensor

from prunus.errors import PrunusError


@dataclass(frozen=True)
class Codebook:
    """Kept places of a tensor, and for each the index of its value.

    `mask` is bool, of the tensor's shape; `indices` are integers, one a kept entry in row-major order;
    `centroids` are the shared values.

    >>> mask = torch.tensor([[True, False], [True, True]])
    >>> Codebook(torch.tensor([-1.0, 2.0]), torch.tensor([1, 0, 1]), mask).decode()
    tensor([[ 2.,  0.],
            [-1.,  2.]])
    """

    centroids: Tensor  # (levels,)
    indices: Tensor  # (kept,)
    mask: Tensor

    def __post_init__(self) -> None:
        kept = int(self.mask.sum())
        if self.indices.shape != (kept,):
            raise PrunusError(f"{kept} kept entries need as many indices, found {tuple(self.indices.shape)}.")
        if kept and not 0 <= int(self.indices.min()) <= int(self.indices.max()) < len(self.centroids):
            raise PrunusError(f"indices reach outside a codebook of {len(self.centroids)} centroids.")

    @property
    def bits(self) -> int:
        """Bits of a fixed-width index: log2 of the levels, rounded up."""
        return max(1, ceil(log2(max(len(self.centroids), 1))))

    def decode(self) -> Tensor:
        """The tensor: its centroid at every kept entry, zero elsewhere."""
        tensor = torch.zeros(self.mask.shape, dtype=self.centroids.dtype, device=self.centroids.device)
        tensor[self.mask] = self.centroids[self.indices]
        return tensor

    def with_centroids(self, centroids: Tensor) -> "Codebook":
        """The same assignment with other values."""
        return Codebook(centroids, self.indices, self.mask)
