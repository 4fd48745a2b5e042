"""The control: scores drawn at random."""

import torch
from torch import Tensor

from prunus.tree import Tree


def chance(weights: Tree, generator: torch.Generator) -> dict[str, Tensor]:
    """Uniform scores in [0, 1): every mask of the scope's counts is equally likely."""
    return {
        name: torch.rand(weight.shape, generator=generator, device=generator.device).to(weight.device)
        for name, weight in weights.items()
    }
