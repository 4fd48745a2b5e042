"""Weight sharing: one-dimensional k-means over the kept weights of a tensor.

Source: Han, Mao & Dally 2016, "Deep compression", section 3.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from prunus.codebook import Codebook
from prunus.errors import PrunusError

Start = Callable[[Tensor, int], Tensor]


def linear(values: Tensor, levels: int) -> Tensor:
    """Centroids evenly spaced from the smallest to largest value: the paper's best, it keeps big ones."""
    return torch.linspace(float(values.min()), float(values.max()), levels, dtype=values.dtype)


def density(values: Tensor, levels: int) -> Tensor:
    """Centroids at evenly spaced quantiles: as many values between each two neighbours."""
    quantiles = (torch.arange(levels, dtype=torch.float64) + 0.5) / levels
    places = (quantiles * len(values)).long().clamp(max=len(values) - 1)
    return values.sort().values[places]


def at_random(generator: torch.Generator) -> Start:
    """Centroids that are randomly chosen values (Forgy)."""

    def start(values: Tensor, levels: int) -> Tensor:
        return values[torch.randperm(len(values), generator=generator)[:levels]]

    return start


def share(weight: Tensor, levels: int, *, start: Start = linear, iterations: int = 300) -> Codebook:
    """The codebook of at most `levels` centroids for the nonzero entries of `weight`, by k-means.

    Centroids that no entry chose are dropped; fewer distinct values than levels come out exact. The work is
    done in double precision on the CPU, so a seed gives the same codebook on every device.

    Idea: a few values shared by many weights serve as well as one for each, if they are trained on together.
    Formula: min sum |w_i - c_k(i)|^2 over centroids c and each entry's choice k(i); then dL/dc_k is the sum of dL/dw_i
    over the entries that chose k, which stay (`sharing.Sharing`).
    Source: Han, Mao & Dally 2016, "Deep compression: compressing deep neural networks with pruning, trained
    quantization and Huffman coding", section 3.
    Use: after pruning, with some epochs of training the centroids; 4 to 8 bits a weight.
    Cost: O(levels log n) an iteration, and a sort.
    """
    if levels < 1:
        raise PrunusError(f"a codebook has at least one level, found {levels}.")
    mask = weight != 0
    values = weight[mask].detach().double().cpu()
    if not torch.isfinite(values).all():
        raise PrunusError("weights to be shared hold NaN or infinity.")
    if not len(values):
        return Codebook(weight.new_zeros(0), torch.zeros(0, dtype=torch.long, device=weight.device), mask)
    distinct = values.unique()
    centroids = distinct if len(distinct) <= levels else k_means(values, start(values, levels), iterations)
    indices = nearest(values, centroids)
    used, indices = indices.unique(return_inverse=True)
    return Codebook(centroids[used].to(weight), indices.to(weight.device), mask)


def k_means(values: Tensor, centroids: Tensor, iterations: int = 300) -> Tensor:
    """Sorted centroids after Lloyd's algorithm on numbers `values` (n,) from `centroids` (k,), both double.

    Runs until nothing moves or `iterations` are done. A centroid without values stays where it is. Each
    iteration costs O(k log n): on sorted values a cluster is a range, its sum a difference of prefix sums.
    """
    ordered = values.sort().values
    sums = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])  # (n + 1,)
    centroids = centroids.sort().values
    for _ in range(iterations):
        inner = torch.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2)
        edges = torch.cat([inner.new_zeros(1), inner, inner.new_tensor([len(ordered)])])  # (k + 1,)
        counts = edges.diff()
        moved = torch.where(counts > 0, sums[edges].diff() / counts.clamp(min=1), centroids).sort().values
        if torch.equal(moved, centroids):
            break
        centroids = moved
    return centroids


def nearest(values: Tensor, centroids: Tensor) -> Tensor:
    """Index of the nearest of sorted `centroids` for each value; halfway goes to the lower."""
    return torch.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)
