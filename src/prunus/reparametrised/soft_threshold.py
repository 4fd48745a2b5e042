"""Weights that a learned threshold shrinks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from prunus.reparametrised.network import Layer, check_strength


def shrunk(weight: Tensor, threshold: Tensor) -> Tensor:
    """sign(w) max(0, |w| - sigmoid(threshold))."""
    return weight.sign() * (weight.abs() - threshold.sigmoid()).relu()


class _Shrinking(Layer):
    def __init__(self, weight: Tensor, start: float, strength: float) -> None:
        super().__init__()
        self.threshold = nn.Parameter(weight.new_tensor(start))
        self._strength = strength

    def forward(self, weight: Tensor) -> Tensor:
        return shrunk(weight, self.threshold)

    def kept(self, weight: Tensor) -> Tensor:
        return self.worth(weight) > 0

    def worth(self, weight: Tensor) -> Tensor:
        return weight.abs() - self.threshold.detach().sigmoid()

    def penalty(self, weight: Tensor) -> Tensor:
        return self._strength / 2 * self.threshold.square()


@dataclass(frozen=True)
class SoftThreshold:
    """Soft threshold reparametrisation, STR: each tensor learns the threshold below which its weights are zero.

    Idea: soft thresholding has a gradient in its threshold, so layers find their densities by gradient descent.
    Formula: w' = sign(w) * max(0, |w| - sigmoid(s)), one s a tensor; s starts at `start`, where all or nearly all
    weights are kept, and the loss gets `strength` / 2 * s^2, which pulls the threshold up to at most 1/2.
    Source: Kusupati et al. 2020, "Soft threshold weight reparameterization for learnable sparsity", section 3.
    Use: where layers should find their own densities; the density of the whole follows from `start` and `strength`.
    Cost: a training, and one number more a tensor.
    Differs: the authors let the optimizer's weight decay pull s, with the strength that the weights have; with plain
    gradient descent the penalty is the same, with Adam it is not. They start s from -3200 to -5 by network.
    """

    start: float = -5.0
    strength: float = 0.0
    rate: float = 1.0
    warm_up: int = 0
    kind: str = field(default="soft threshold", init=False)

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def layer(self, name: str, weight: Tensor) -> _Shrinking:
        """With the threshold that it starts with."""
        return _Shrinking(weight, self.start, self.strength)

    def after_step(self, layers: Mapping[str, _Shrinking], trained: Mapping[str, Tensor], step: int) -> None:
        """Nothing is to be done."""
