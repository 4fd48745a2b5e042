"""Subset sums: which random numbers add up to a weight, and how many of them it takes."""

from prunus.subset_sum.solver import Drawn, closest, fewest
from prunus.subset_sum.subsets import Subsets

__all__ = ["Drawn", "Subsets", "closest", "fewest"]
