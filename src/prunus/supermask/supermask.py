"""A network that is a seed and a mask."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.pack import Drawn
from prunus.supermask.start import Start
from prunus.tree import assign


@dataclass(frozen=True)
class Supermask:
    """Which of the weights that `start` draws are kept; each tensor is (total / kept)^`rescale` times larger.

    `rescale` is 0, 1/2 (the variance of what a unit sums stays) or 1. The mask names all prunable weights of its
    network, in their order.
    """

    start: Start
    mask: Mask
    rescale: float = 0.0

    def __post_init__(self) -> None:
        check_rescale(self.rescale)

    def drawn(self) -> dict[str, Drawn]:
        """How each tensor is drawn: with a mask, all that its file holds."""
        shapes = {name: tuple(kept.shape) for name, kept in self.mask.items()}
        if self.rescale == 0:
            return self.start.drawn(shapes)
        shares = {name: kept.numel() / max(1, int(kept.sum())) for name, kept in self.mask.items()}
        factors = {name: sqrt(share) if self.rescale == 0.5 else share for name, share in shares.items()}
        return self.start.drawn(shapes, factors)

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights, rebuilt from the seed and the mask alone."""
        return self.mask.apply({name: one.values(tuple(self.mask[name].shape)) for name, one in self.drawn().items()})

    def apply_to(self, model: nn.Module) -> None:
        """Make `model` this network; its buffers, like the statistics of BatchNorm, stay as they are."""
        self.start.apply_to(model)
        assign(model, self.weights())


def check_rescale(rescale: float) -> None:
    """Raise `PrunusError` unless it is 0, 1/2 or 1, powers that every machine computes alike."""
    if rescale not in (0, 0.5, 1):
        raise PrunusError(f"rescale is 0, 0.5 or 1, found {rescale}.")
