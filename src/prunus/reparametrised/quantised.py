"""Weights of few levels from the first step on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from prunus.codebook import Codebook
from prunus.errors import PrunusError
from prunus.quantise import share
from prunus.reparametrised.network import Layer
from prunus.straight_through import through
from prunus.tree import Tree


def binary(weight: Tensor, *, scaled: bool = False) -> Tensor:
    """+1 where `weight` >= 0, else -1; `scaled`, times the mean |weight| (Rastegari et al. 2016, XNOR-Net)."""
    signs = torch.where(weight >= 0, 1.0, -1.0).to(weight)
    return signs * weight.abs().mean() if scaled else signs


def uniform(weight: Tensor, bits: int, *, scaled: bool = False) -> Tensor:
    """The nearest of 2^`bits` levels from -1 to 1 - 2^(1 - bits), evenly spaced; `scaled`, times the largest |weight|.

    >>> uniform(torch.tensor([-3.0, -0.3, 0.2, 0.9]), 2)
    tensor([-1.0000, -0.5000,  0.0000,  0.5000])
    """
    half = 2 ** (bits - 1)
    step: Tensor = (weight.abs().max() if scaled else weight.new_ones(())) / half
    whole = (weight / torch.where(step > 0, step, 1)).round().clamp(-half, half - 1)
    return whole * step + 0.0  # no -0.0


class _Stepped(Layer):
    def __init__(self, bits: int, scaled: bool) -> None:
        super().__init__()
        self._bits, self._scaled = bits, scaled

    def forward(self, weight: Tensor) -> Tensor:
        return through(self._levels(weight.detach()), weight.clamp(-1, 1))

    def kept(self, weight: Tensor) -> Tensor:
        return self._levels(weight.detach()) != 0

    def _levels(self, weight: Tensor) -> Tensor:
        if self._bits == 1:
            return binary(weight, scaled=self._scaled)
        return uniform(weight, self._bits, scaled=self._scaled)


@dataclass(frozen=True)
class Quantised:
    """Quantised training: the network computes with weights of 2^`bits` levels, full ones behind them are trained.

    Idea: many small steps add up in the full weights until a quantised one changes; so few levels are enough.
    Formula: w' = sign(w) for 1 bit, else the nearest of 2^`bits` evenly spaced levels from -1 to 1 - 2^(1 - `bits`);
    the gradient goes straight through where |w| <= 1, and w is held within [-1, 1]. `scaled`, signs are times the mean
    |w|, levels times the largest.
    Source: Courbariaux et al. 2016, "Binarized neural networks"; Hubara et al. 2016, "Quantized neural networks:
    training neural networks with low precision weights and activations", linear quantisation; for scaled signs,
    Rastegari et al. 2016, "XNOR-Net".
    Use: files of a bit or a few a weight; `codebooks` are exact, and `prunus.save` finds them by itself. `scaled` where
    no BatchNorm follows each layer to make up for the size of the weights.
    Cost: a training of full precision with a rounding of each weight; nothing is multiplied faster here.
    Differs: the authors quantise activations, and in part gradients, too; weights alone are quantised here. They leave
    levels unscaled. XNOR-Net takes the gradient of the scale too.
    """

    bits: int = 1
    scaled: bool = True
    rate: float = 1.0
    warm_up: int = 0
    kind: str = field(default="quantised", init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise PrunusError(f"weights are quantised to 1 to 16 bits, found {self.bits}.")

    def layer(self, name: str, weight: Tensor) -> _Stepped:
        """The same for all."""
        return _Stepped(self.bits, self.scaled)

    def after_step(self, layers: Mapping[str, _Stepped], trained: Mapping[str, Tensor], step: int) -> None:
        """Hold the trained weights within [-1, 1]."""
        for weight in trained.values():
            weight.clamp_(-1, 1)

    def codebooks(self, baked: Tree) -> dict[str, Codebook]:
        """The codebooks of baked weights, exact: levels that are used, and an index for each weight that is not 0."""
        return {name: share(weight, 2**self.bits) for name, weight in baked.items()}
