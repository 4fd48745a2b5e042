"""Movement pruning: scores that are trained along with the weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from prunus import scope
from prunus.errors import PrunusError
from prunus.reparametrised.masked import check_every, is_event
from prunus.reparametrised.network import Layer, check_strength
from prunus.schedule import cubic
from prunus.straight_through import through


class _Scored(Layer):
    """The weight times 1 where it is kept, else 0, whose gradient goes to a score."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros_like(weight))

    def forward(self, weight: Tensor) -> Tensor:
        """Mask it."""
        return weight * through(self.kept(weight), self.scores)

    def worth(self, weight: Tensor) -> Tensor:
        """The score."""
        return self.scores.detach()


class _Best(_Scored):
    places: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight)
        self.register_buffer("places", torch.ones_like(weight, dtype=torch.bool))

    def kept(self, weight: Tensor) -> Tensor:
        return self.places.clone()


class _Above(_Scored):
    def __init__(self, weight: Tensor, threshold: float, strength: float) -> None:
        super().__init__(weight)
        self._threshold, self._strength = threshold, strength

    def kept(self, weight: Tensor) -> Tensor:
        return self.scores.detach().sigmoid() > self._threshold

    def penalty(self, weight: Tensor) -> Tensor:
        return self._strength * self.scores.sigmoid().sum()


@dataclass(frozen=True)
class Movement:
    """Movement pruning: weights that move away from zero are kept, however small they are.

    Idea: in fine-tuning, what a weight was says less than where it goes; a score sums up -w dL/dw over the steps.
    Formula: w' = w * M, M = 1 for the `density` of all entries with the largest scores S, by `schedule.cubic` from
    `begin` to `end`, decided anew every `every` steps. S starts at 0, and its gradient is that of M: dL/dw' * w.
    Source: Sanh, Wolf & Rush 2020, "Movement pruning: adaptive sparsity by fine-tuning", section 4.
    Use: fine-tuning a pretrained network to few weights (a tenth or less); `rate` of the scores may be 100 and more.
    Cost: a training with as many scores as weights, and a selection of the largest each `every` steps.
    Differs: the authors' code keeps the same part of each tensor (`per_tensor`), as the paper does in its tables.
    """

    density: float
    end: int
    begin: int = 0
    every: int = 1
    per_tensor: bool = False
    rate: float = 1.0
    warm_up: int = 0
    kind: str = field(default="movement", init=False)

    def __post_init__(self) -> None:
        cubic(self.density, begin=self.begin, end=self.end)  # refuses what is none
        check_every(self.every)

    def layer(self, name: str, weight: Tensor) -> _Best:
        """All kept at first."""
        return _Best(weight)

    def after_step(self, layers: Mapping[str, _Best], trained: Mapping[str, Tensor], step: int) -> None:
        """Choose anew, if it is time."""
        if not is_event(step, self.begin, self.end, self.every):
            return
        choose = scope.tensor if self.per_tensor else scope.network
        density = cubic(self.density, begin=self.begin, end=self.end)(step)
        for name, kept in choose({name: layer.scores.detach() for name, layer in layers.items()}, density).items():
            layers[name].places.copy_(kept)


@dataclass(frozen=True)
class SoftMovement:
    """Soft movement pruning: a threshold on the scores of all layers, and a penalty that pulls them below it.

    Idea: layers share out among themselves how many weights each keeps, as the loss has it.
    Formula: w' = w * [sigmoid(S) > `threshold`]; the loss gets `strength` * sum sigmoid(S), which rises linearly over
    `warm_up` steps. S starts at 0, and its gradient is that of the mask: dL/dw' * w.
    Source: Sanh, Wolf & Rush 2020, "Movement pruning", section 4, soft movement pruning.
    Use: as `Movement`, where the density of each layer is to be found; the whole density follows from `strength`.
    Cost: a training with as many scores as weights.
    Differs: the authors' code divides the sum by the number of weights, so that its strengths are that much larger,
    and keeps at least 0.5 % of a tensor.
    """

    strength: float
    threshold: float = 0.1
    rate: float = 1.0
    warm_up: int = 0
    kind: str = field(default="soft movement", init=False)

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if not 0 < self.threshold < 0.5:
            raise PrunusError(f"a threshold of scores that start at 1/2 is between 0 and 1/2, found {self.threshold}.")

    def layer(self, name: str, weight: Tensor) -> _Above:
        """All above it at first."""
        return _Above(weight, self.threshold, self.strength)

    def after_step(self, layers: Mapping[str, _Above], trained: Mapping[str, Tensor], step: int) -> None:
        """Nothing is to be done."""
