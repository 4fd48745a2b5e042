"""Weights that are drawn once and never trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt

import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.pack import Drawn
from prunus.tree import parameters, weights


@dataclass(frozen=True)
class Start:
    """How the frozen weights of a network are drawn; the same bits on every machine.

    Both kinds have the standard deviation sqrt(2 / fan in) in each tensor: "signed-constant" is that number or its
    negative, "uniform" a value from sqrt(3) of it down to its negative. Of one seed they have the same signs.
    With a `density` below 1 the fan in counts only so many inputs ("scaled" in Ramanujan et al. 2020).

    Source: Ramanujan et al. 2020, "What's hidden in a randomly weighted neural network?", section 3.3. The authors'
    code scales by 1 / sqrt(fraction removed) instead of 1 / sqrt(fraction kept), which is only equal at one half.
    """

    kind: str = "signed-constant"
    seed: int = 0
    density: float = 1.0

    def __post_init__(self) -> None:
        Drawn(self.kind, self.seed)  # refuses what cannot be drawn
        if not 0 < self.density <= 1:
            raise PrunusError(f"density {self.density} is outside (0, 1].")

    def drawn(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, Drawn]:
        """How each weight of these shapes (out, in, ...) is drawn: the n-th from the stream n."""
        width = sqrt(3.0) if self.kind == "uniform" else 1.0
        return {
            name: Drawn(self.kind, self.seed, stream, width * sqrt(2 / (self.density * max(1, prod(shape[1:])))))
            for stream, (name, shape) in enumerate(shapes.items())
        }

    @torch.no_grad()
    def apply_to(self, model: nn.Module) -> None:
        """Draw the prunable weights of `model` anew; biases become 0, the scales of normalisation layers 1.

        While these stay so, a BatchNorm layer is one without them, as in the papers on supermasks.
        """
        prunable = weights(model)
        drawn = self.drawn({name: tuple(weight.shape) for name, weight in prunable.items()})
        for name, parameter in parameters(model).items():
            if name in drawn:
                parameter.copy_(drawn[name].values(tuple(parameter.shape)))
            else:
                parameter.fill_(1.0 if name.rpartition(".")[2] == "weight" else 0.0)
