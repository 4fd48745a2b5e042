"""Gates that are 0 with a learned probability: an L0 penalty with a gradient."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log

import torch
from torch import Tensor, nn

from prunus.errors import PrunusError
from prunus.reparametrised.network import Layer, check_strength

_LOW, _HIGH = -0.1, 1.1  # gamma and zeta
_TEMPERATURE = 2 / 3  # beta
_MOST = log(100)  # of |log alpha|, as in the authors' code
_TINY = 1e-6  # the least chance that noise is drawn with, as there


def drawn(log_alpha: Tensor, noise: Tensor) -> Tensor:
    """Hard concrete gates of `noise`, uniform on (0, 1).

    s = sigmoid((log u - log(1 - u) + log alpha) / beta), z = min(1, max(0, s (zeta - gamma) + gamma)), with beta 2/3,
    gamma -0.1, zeta 1.1. Source: Louizos, Welling & Kingma 2018.
    """
    concrete = torch.sigmoid((noise.logit() + log_alpha) / _TEMPERATURE)
    return (concrete * (_HIGH - _LOW) + _LOW).clamp(0, 1)


def likely(log_alpha: Tensor) -> Tensor:
    """The gates of evaluation: z = min(1, max(0, sigmoid(log alpha) (zeta - gamma) + gamma))."""
    return (log_alpha.sigmoid() * (_HIGH - _LOW) + _LOW).clamp(0, 1)


def chance_open(log_alpha: Tensor) -> Tensor:
    """The probability that a gate is not 0: sigmoid(log alpha - beta log(-gamma / zeta))."""
    return torch.sigmoid(log_alpha - _TEMPERATURE * log(-_LOW / _HIGH))


class _Gated(Layer):
    def __init__(self, weight: Tensor, method: "HardConcrete") -> None:
        super().__init__()
        shape = [size if method.axis in (None, axis) else 1 for axis, size in enumerate(weight.shape)]
        start = log(method.chance / (1 - method.chance))
        self.log_alpha = nn.Parameter(weight.new_full(shape, start))
        self._strength = method.strength

    def forward(self, weight: Tensor) -> Tensor:
        if not self.training:
            return weight * likely(self.log_alpha)
        noise = torch.rand_like(self.log_alpha).clamp(_TINY, 1 - _TINY)
        return weight * drawn(self.log_alpha, noise)

    def kept(self, weight: Tensor) -> Tensor:
        return (likely(self.log_alpha.detach()) > 0).expand_as(weight)

    def worth(self, weight: Tensor) -> Tensor:
        return self.log_alpha.detach().expand_as(weight)

    def penalty(self, weight: Tensor) -> Tensor:
        entries = weight.numel() / self.log_alpha.numel()  # of a gate
        return self._strength * entries * chance_open(self.log_alpha).sum()


@dataclass(frozen=True)
class HardConcrete:
    """L0 regularisation: gates of weights, or of groups of them, that learn how likely they are open.

    Idea: the number of kept weights has no gradient, its expectation over random gates has.
    Formula: w' = w z, z = min(1, max(0, s (zeta - gamma) + gamma)), hard concrete, with gamma -0.1, zeta 1.1. For each
    batch s = sigmoid((log u - log(1 - u) + log alpha) / beta), u uniform and beta 2/3; in evaluation s = sigmoid(log
    alpha). The loss gets `strength` times the expected number of kept weights, the sum of sigmoid(log alpha - beta
    log(-gamma / zeta)). log alpha starts where a gate that is neither stretched nor cut is open with `chance`, and
    stays within log 100 of 0.
    Source: Louizos, Welling & Kingma 2018, "Learning sparse neural networks through L0 regularization". Gale, Elsen &
    Hooker 2019, "The state of sparsity in deep neural networks", found that it does not scale to ResNet-50.
    Use: groups, with `axis` 0 for the filters or units of a layer, 1 for its inputs: `shrink` takes them out. None for
    single weights. Strengths are about 0.1 to 1, divided by the rows of the training part, as the loss is a mean.
    Cost: a training with noise, and a number more a gate.
    Differs: the authors also count an L2 penalty of open gates, draw the start of log alpha with deviation 0.01, and
    may draw gates for each example. They put gates on inputs of Linear and on filters of Conv2d, biases included.
    """

    strength: float
    axis: int | None = None
    chance: float = 0.5
    rate: float = 1.0
    warm_up: int = 0
    kind: str = field(default="hard concrete", init=False)

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if self.axis not in (None, 0, 1):
            raise PrunusError(f"gates are of weights (None), outputs (0) or inputs (1), found {self.axis}.")
        if not 0 < self.chance < 1:
            raise PrunusError(f"the chance to be open must be above 0 and below 1 at first, found {self.chance}.")

    def layer(self, name: str, weight: Tensor) -> _Gated:
        """As likely open as `chance` says."""
        return _Gated(weight, self)

    def after_step(self, layers: Mapping[str, _Gated], trained: Mapping[str, Tensor], step: int) -> None:
        """Hold log alpha within its bounds."""
        for layer in layers.values():
            layer.log_alpha.clamp_(-_MOST, _MOST)
