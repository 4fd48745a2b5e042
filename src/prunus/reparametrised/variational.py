"""Variational dropout: each weight learns how much noise it bears."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.errors import PrunusError
from prunus.reparametrised.network import Layer, check_strength

_K1, _K2, _K3 = 0.63576, 1.87320, 1.48695
_TINY = 1e-8  # of variances, as in the authors' code


def divergence(log_alpha: Tensor) -> Tensor:
    """Of each entry, the divergence of N(w, alpha w^2) from the log-uniform prior, 0 for infinite alpha.

    KL = k1 - k1 sigmoid(k2 + k3 log alpha) + log(1 + 1 / alpha) / 2, (k1, k2, k3) = (0.63576, 1.87320, 1.48695), which
    is within 0.0094 of the exact one for log alpha from -10 to 10, farthest at -3.5.
    Source: Molchanov et al. 2017.
    """
    return _K1 * torch.sigmoid(-_K2 - _K3 * log_alpha) + 0.5 * F.softplus(-log_alpha)


class _Noisy(Layer):
    def __init__(self, weight: Tensor, method: "VariationalDropout") -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.full_like(weight, method.log_variance))
        self._method = method

    def log_alpha(self, weight: Tensor) -> Tensor:
        return (self.log_variance - torch.log(weight.square() + _TINY)).clamp(-8, 8)

    def forward(self, weight: Tensor) -> Tensor:
        return weight if self.training else torch.where(self.kept(weight), weight, 0)

    def kept(self, weight: Tensor) -> Tensor:
        return self.log_alpha(weight.detach()) <= self._method.threshold

    def worth(self, weight: Tensor) -> Tensor:
        return -self.log_alpha(weight.detach()).detach()

    def penalty(self, weight: Tensor) -> Tensor:
        return self._method.strength * divergence(self.log_alpha(weight)).sum()

    def attach(self, module: nn.Module) -> None:
        if type(module) not in (nn.Linear, nn.Conv2d):
            raise PrunusError(f"variational dropout is for Linear and Conv2d, found {type(module).__name__}.")
        module.register_forward_hook(self.add_noise)

    def add_noise(self, module: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """The output drawn with its own variance: local reparametrisation."""
        if not module.training:
            return output
        squares, variance = inputs[0].square(), self.log_variance.exp()
        linear = isinstance(module, nn.Linear)
        spread = F.linear(squares, variance) if linear else module._conv_forward(squares, variance, None)
        return output + (spread + _TINY).sqrt() * torch.randn_like(output)


@dataclass(frozen=True)
class VariationalDropout:
    """Sparse variational dropout: weights that bear more noise than they are large are pruned.

    Idea: a posterior N(w, s^2) of each weight, learned against a prior that likes noise; where s is far larger than w,
    the weight says nothing.
    Formula: the loss gets `strength` * sum KL, with KL = k1 - k1 sigmoid(k2 + k3 log alpha) + log(1 + 1 / alpha) / 2,
    (k1, k2, k3) = (0.63576, 1.87320, 1.48695), and log alpha = log s^2 - log w^2 within [-8, 8]; w is pruned where log
    alpha > `threshold`. In training, each output is drawn with mean x w and variance x^2 s^2 (local reparametrisation);
    w and log s^2 are what is trained (additive noise). `strength` is 1 / (rows of the training part), as the loss is a
    mean over rows.
    Source: Kingma, Salimans & Welling 2015, "Variational dropout and the local reparameterization trick"; Molchanov,
    Ashukha & Vetrov 2017, "Variational dropout sparsifies deep neural networks", section 4.
    Use: LeNets to a percent and below, with nothing to tune per layer; `warm_up` over the first epochs, or a trained
    network to start with, else it prunes all before it has learned. Linear and Conv2d only.
    Cost: twice the multiplications in training, twice the parameters; the data's loss gets noise.
    Differs: the authors' code rounds the constants of KL, leaves out what is pruned already while it trains
    (train_clip), and anneals the rate linearly to 0.
    """

    strength: float
    log_variance: float = -10.0
    threshold: float = 3.0
    rate: float = 1.0
    warm_up: int = 0
    kind: str = field(default="variational dropout", init=False)

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if not -8 < self.threshold < 8:
            raise PrunusError(f"log alpha is held within -8 and 8, its threshold is between, found {self.threshold}.")

    def layer(self, name: str, weight: Tensor) -> _Noisy:
        """With little noise at first."""
        return _Noisy(weight, self)

    def after_step(self, layers: Mapping[str, _Noisy], trained: Mapping[str, Tensor], step: int) -> None:
        """Nothing is to be done."""
