"""A network that is a seed and a mask."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from prunus.mask import Mask
from prunus.pack import Drawn
from prunus.supermask.start import Start
from prunus.tree import assign


@dataclass(frozen=True)
class Supermask:
    """Which of the weights that `start` draws are kept; with `rescaled`, each tensor is total / kept times larger.

    The mask names all prunable weights of its network, in their order.
    """

    start: Start
    mask: Mask
    rescaled: bool = False

    def drawn(self) -> dict[str, Drawn]:
        """How each tensor is drawn: with a mask, all that its file holds."""
        drawn = self.start.drawn({name: tuple(kept.shape) for name, kept in self.mask.items()})
        if not self.rescaled:
            return drawn
        shares = {name: kept.numel() / max(1, int(kept.sum())) for name, kept in self.mask.items()}
        return {name: replace(one, scale=one.scale * shares[name]) for name, one in drawn.items()}

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights, rebuilt from the seed and the mask alone."""
        return self.mask.apply({name: one.values(tuple(self.mask[name].shape)) for name, one in self.drawn().items()})

    def apply_to(self, model: nn.Module) -> None:
        """Make `model` this network; its buffers, like the statistics of BatchNorm, stay as they are."""
        self.start.apply_to(model)
        assign(model, self.weights())
