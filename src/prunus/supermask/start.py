"""Weights that are drawn once and never trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from types import MappingProxyType

import torch
from torch import nn

from prunus.distribution import SignedConstant, Symmetric
from prunus.errors import unknown
from prunus.mask import check_density
from prunus.pack import Drawn
from prunus.tree import parameters, weights

KINDS: Mapping[str, tuple[type[SignedConstant] | type[Symmetric], float]] = MappingProxyType(
    {"signed-constant": (SignedConstant, 1.0), "uniform": (Symmetric, sqrt(3.0))}  # the scales of deviation 1
)


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
        if self.kind not in KINDS:
            raise unknown("kind of draws", self.kind, KINDS)
        Drawn(seed=self.seed)  # refuses what is none
        check_density(self.density)

    def drawn(
        self, shapes: Mapping[str, Sequence[int]], factors: Mapping[str, float] | None = None
    ) -> dict[str, Drawn]:
        """How weights of these shapes (out, in, ...) are drawn, the n-th from the stream n, `factors` times larger."""
        distribution, width = KINDS[self.kind]
        scales = {name: width * sqrt(2 / (self.density * max(1, prod(shape[1:])))) for name, shape in shapes.items()}
        return {
            name: Drawn(distribution(scale * (factors or {}).get(name, 1.0)), self.seed, stream)
            for stream, (name, scale) in enumerate(scales.items())
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
