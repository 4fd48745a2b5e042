"""The control: scores drawn at random."""

import torch
from torch import Tensor

from prunus.tree import Tree


def chance(weights: Tree, generator: torch.Generator) -> dict[str, Tensor]:
    """Uniform scores in [0, 1): every mask of the scope's counts is equally likely.

    Idea: what any score has to beat. With `scope.smart_ratio` or `scope.erk` it is hard to beat before training.
    Formula: u, drawn uniformly from [0, 1) for each entry.
    Source: Su et al. 2020, "Sanity-checking pruning methods: random tickets can win the jackpot".
    Use: as the control beside every method, with the same scope; as the first mask of sparse training (`rewiring`).
    Cost: none.
    """
    return {
        name: torch.rand(weight.shape, generator=generator, device=generator.device).to(weight.device)
        for name, weight in weights.items()
    }
