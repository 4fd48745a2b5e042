"""Masks that are decided anew while all weights stay there and train on: dynamic pruning, network surgery."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from prunus import draws, scope
from prunus.errors import PrunusError
from prunus.reparametrised.network import Layer
from prunus.schedule import cubic
from prunus.straight_through import through


class Masked(Layer):
    """The weight where it is `places`, else zero; pruned weights get the gradient that zeros there would."""

    places: Tensor

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.register_buffer("places", places)

    def forward(self, weight: Tensor) -> Tensor:
        """Mask it."""
        return through(torch.where(self.places, weight, 0).detach(), weight)

    def kept(self, weight: Tensor) -> Tensor:
        """As decided last."""
        return self.places.clone()


@dataclass(frozen=True)
class DynamicPruning:
    """Dynamic pruning with feedback, DPF: the smallest weights are masked, train on behind the mask, and may come back.

    Idea: what is pruned too early keeps its value and its gradient, so that training corrects the choice.
    Formula: after every `every` steps from `begin` to `end`, the mask keeps the largest |w| of all tensors, those
    masked before among them; density d = d_f + (1 - d_f) (1 - (t - t_0) / (t_1 - t_0))^3, `schedule.cubic`. The network
    computes with the masked weights, and their gradient goes to all: w <- w - rate * dL/d(w * mask).
    Source: Lin et al. 2020, "Dynamic model pruning with feedback", section 3; the schedule is that of Zhu & Gupta 2017.
    Use: a single training, dense behind its mask, with nothing to choose but the density. Where what is pruned need not
    return, `gradual.Gradual` is cheaper: it holds pruned weights at zero, in sparse layers if wanted.
    Cost: a training with dense gradients, and a selection of the largest at each event.
    Differs: the authors mask whole filters, too; here single weights.
    """

    density: float
    end: int
    begin: int = 0
    every: int = 100
    per_tensor: bool = False
    rate: float = 1.0
    warm_up: int = 0
    kind: str = field(default="dynamic pruning", init=False)

    def __post_init__(self) -> None:
        cubic(self.density, begin=self.begin, end=self.end)  # refuses what is none
        check_every(self.every)

    def layer(self, name: str, weight: Tensor) -> Masked:
        """All kept at first."""
        return Masked(torch.ones_like(weight, dtype=torch.bool))

    def after_step(self, layers: Mapping[str, Masked], trained: Mapping[str, Tensor], step: int) -> None:
        """Decide anew, if it is time."""
        if not is_event(step, self.begin, self.end, self.every):
            return
        choose = scope.tensor if self.per_tensor else scope.network
        density = cubic(self.density, begin=self.begin, end=self.end)(step)
        for name, kept in choose({name: weight.abs() for name, weight in trained.items()}, density).items():
            layers[name].places.copy_(kept)


@dataclass(frozen=True)
class Surgery:
    """Dynamic network surgery: small weights are cut, and spliced back where they grow again.

    Idea: pruning errs, so all weights are trained on, the pruned as if they were there, and two thresholds, not one,
    keep those between them as they were.
    Formula: T = 0 where |w| <= 0.9 t, 1 where |w| > 1.1 t, else as before; t = max(0, mean + `deviations` * deviation)
    of the tensor's nonzero |w| at the start. The network computes with w T, the gradient of w T goes to w. T is decided
    at the start and after step i with probability (1 + `gamma` i)^-`power`, until step `until`.
    Source: Guo, Yao & Chen 2016, "Dynamic network surgery for efficient DNNs", algorithm 1.
    Use: a trained network, and an idea of how much of each layer is needed: `of_tensors` has the deviations of some.
    Cost: a training, with a mask over each weight.
    Differs: the authors' code prunes biases too. Its 0.9 t and 1.1 t are a and b = a + margin in the paper.
    """

    deviations: float
    until: int
    gamma: float = 1e-4
    power: float = 1.0
    of_tensors: tuple[tuple[str, float], ...] = ()
    seed: int = 0
    rate: float = 1.0
    warm_up: int = 0
    kind: str = field(default="surgery", init=False)

    def __post_init__(self) -> None:
        if self.gamma < 0 or self.power < 0:
            raise PrunusError(f"gamma and power must not be negative, found {self.gamma} and {self.power}.")

    def layer(self, name: str, weight: Tensor) -> "Cut":
        """Cut for the first time."""
        sizes = weight[weight != 0].abs()
        deviations = dict(self.of_tensors).get(name, self.deviations)
        threshold = (sizes.mean() + deviations * sizes.std(correction=0)).clamp(min=0) if len(sizes) else weight.sum()
        return Cut(weight, threshold)

    def after_step(self, layers: Mapping[str, "Cut"], trained: Mapping[str, Tensor], step: int) -> None:
        """Decide anew, with a probability that falls."""
        if step >= self.until:
            return
        chances = draws.uniform(self.seed, step, (len(layers),), 0.0, 1.0).tolist()
        for (name, layer), chance in zip(layers.items(), chances, strict=True):
            if (1 + self.gamma * step) ** -self.power > chance:
                layer.decide(trained[name])


class Cut(Masked):
    """A mask with two thresholds."""

    threshold: Tensor

    def __init__(self, weight: Tensor, threshold: Tensor) -> None:
        super().__init__(torch.ones_like(weight, dtype=torch.bool))
        self.register_buffer("threshold", threshold)
        self.decide(weight)

    def decide(self, weight: Tensor) -> None:
        """Cut what is small, splice what is large, leave the rest."""
        size = weight.abs()
        self.places.copy_((size > 1.1 * self.threshold) | self.places & (size > 0.9 * self.threshold))


def is_event(step: int, begin: int, end: int, every: int) -> bool:
    """Whether a mask is decided anew after `step`: at multiples of `every`, and at `end`."""
    return step == end or (begin <= step < end and step % every == 0)


def check_every(every: int) -> None:
    """Raise `PrunusError` unless it is a number of steps."""
    if every < 1:
        raise PrunusError(f"every must be at least 1 step, found {every}.")
