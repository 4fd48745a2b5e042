"""Which of the random weights on offer for a weight of the target stay: what a choice is, and subset sums."""

from functools import reduce
from typing import Protocol

import torch
from torch import BoolTensor, Tensor

from prunus.subset_sum import closest, fewest

Factors = tuple[Tensor, ...]
"""Tensors (B, n) whose product is the items: weights alone, or first and second weights of paths. 0 is no item."""


class Choice(Protocol):
    """For each of `targets` (B,) the items whose sum stands for it: True in (B, n)."""

    def __call__(self, targets: Tensor, factors: Factors, epsilon: float) -> BoolTensor:
        """`epsilon` is how near is near enough."""
        ...


def products(factors: Factors) -> Tensor:  # (B, n) float64
    """The items; exact, as two single precision numbers have their product in double precision."""
    return reduce(torch.mul, (factor.double() for factor in factors))


def nearest_subset(targets: Tensor, factors: Factors, epsilon: float) -> BoolTensor:
    """The subset whose sum is nearest, however small epsilon is (Pensia et al. 2020, by Lueker 1998)."""
    return closest(targets, products(factors)).kept


def smallest_subset(targets: Tensor, factors: Factors, epsilon: float) -> BoolTensor:
    """The fewest items whose sum is within epsilon; where no subset is, the nearest."""
    return fewest(targets, products(factors), epsilon).kept
