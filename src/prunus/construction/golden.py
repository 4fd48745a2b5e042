"""A weight as a series of random ones, each about the golden ratio times the one before (Orseau et al. 2020).

With g = (sqrt(5) - 1) / 2, 1 - g**2 = g: what is left of a target of at most g**k, less any item of the bucket
(g**(k+2), g**(k+1)] that is no larger, is at most g**(k+1). So a series over m full buckets leaves at most g**m of the
largest target, and needs log(1 / epsilon) items; hyperbolic weights fill all buckets alike.
"""

import math

import torch
from torch import BoolTensor, Tensor

from prunus.construction.choice import Factors, products

GOLDEN = (math.sqrt(5) - 1) / 2
"""What a full bucket leaves of the bound on what is left."""


def golden_series(targets: Tensor, factors: Factors, epsilon: float) -> BoolTensor:
    """Greedily the largest item, of the target's sign, that is no larger than what is left, until that is epsilon."""
    left, sides = targets.double().abs(), torch.where(targets < 0, -1.0, 1.0).double()
    sizes, places = (products(factors) * sides[:, None]).sort(1, descending=True)
    kept = torch.zeros_like(sizes, dtype=torch.bool)
    for rank, size in enumerate(sizes.unbind(1)):
        kept[:, rank] = taken = (size > 0) & (size <= left) & (left > epsilon)
        left = left - size * taken
    return torch.zeros_like(kept).scatter_(1, places, kept)  # type: ignore[return-value]
