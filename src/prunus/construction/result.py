"""A random network, the mask that makes it compute what the target does, and how well it does."""

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from prunus.construction.certified import certified_bound
from prunus.construction.layer import Layer, Replacement
from prunus.construction.parts import RandomNetwork
from prunus.construction.sampling import Distribution
from prunus.distribution import Known
from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.pack import Drawn
from prunus.tree import weights

Step = nn.Module | tuple[Layer, Replacement]


@dataclass(frozen=True, eq=False)
class Construction:
    """What `approximate` found; `network` is random and runs, `mask` is over its parameters."""

    target: nn.Sequential
    network: RandomNetwork
    mask: Mask
    steps: tuple[Step, ...]
    epsilon: float
    structure: str
    items: int
    seed: int
    weights: Distribution
    solve_seconds: float  # of choosing alone: with weights drawn and compiled code in memory
    input_shape: tuple[int, ...] | None

    def pruned(self) -> RandomNetwork:
        """A copy of the random network with the mask applied: it does what the target does, by itself."""
        pruned = deepcopy(self.network)
        self.mask.apply_to(pruned)
        return pruned

    @property
    def metadata(self) -> dict[str, str]:
        """In words, how to draw the random network again."""
        return {name: str(getattr(self, name)) for name in ("seed", "weights", "structure", "items")}

    def drawn(self) -> dict[str, Drawn]:
        """How each tensor was drawn: with the mask, all that a file needs to hold.

        Left out is what a file cannot name: a tensor that repeats random numbers, as `linear_by_row` has, and all of a
        distribution of yours.
        """
        if not isinstance(self.weights, Known):
            return {}
        drawn = {name: Drawn(self.weights, self.seed, stream) for stream, name in enumerate(self.mask)}
        random = weights(self.network)
        return {name: one for name, one in drawn.items() if one.explains(random[name].detach().numpy().view(np.uint32))}

    def error(self, x: Tensor) -> Tensor:  # (B,)
        """The Euclidean distance of the pruned random network's output from the target's, for each of `x` (B, ...).

        Both are run in double precision.
        """
        target, pruned = self._in_double_precision
        x = x.double()
        return (target(x) - pruned(x)).flatten(1).norm(dim=1)  # type: ignore[no-any-return]

    @cached_property
    def _in_double_precision(self) -> tuple[nn.Module, nn.Module]:
        both = deepcopy(self.target).double().cpu(), self.pruned().double()
        for network in both:
            network.eval().requires_grad_(False)
        return both

    @cached_property
    def bound(self) -> float:
        """What `error` is at most, for any input of Euclidean norm 1 or less: see `certified_bound`."""
        return certified_bound(self.steps, self._output_places())

    def _output_places(self) -> list[int]:
        """Rows times columns of what each step gives; 1 where there are none."""
        biased = any(isinstance(step, tuple) and step[0].biased and not step[0].is_linear for step in self.steps)
        if self.input_shape is None:
            if biased:
                raise PrunusError(
                    "the bound of convolutions with biases depends on the size of images: give input_shape."
                )
            return [1] * len(self.steps)
        x, places = torch.zeros(1, *self.input_shape, dtype=torch.float64), []
        for module in self._in_double_precision[0].children():
            x = module(x)
            places.append(x[0, 0].numel())
        return places

    @property
    def target_weights(self) -> int:
        """Weights and biases of the target."""
        return sum(int(layer.places.sum()) for layer, _ in self._replaced)

    @property
    def random_weights(self) -> int:
        """Weights of the random network before pruning."""
        return self.mask.total

    @property
    def kept_weights(self) -> int:
        """Weights of the random network after pruning."""
        return self.mask.kept

    @cached_property
    def weight_errors(self) -> Tensor:  # (target_weights,) float64
        """How far what stands for each weight and bias is from it; of two sums, the worse."""
        return torch.cat([found.errors.abs().amax(0)[layer.places] for layer, found in self._replaced])

    @property
    def max_error(self) -> float:
        """The largest of `weight_errors`."""
        return float(self.weight_errors.max())

    @property
    def within_epsilon(self) -> float:
        """The share of weights and biases that are met within epsilon: 1.0 for all."""
        return float((self.weight_errors <= self.epsilon).double().mean())

    @property
    def _replaced(self) -> list[tuple[Layer, Replacement]]:
        return [step for step in self.steps if isinstance(step, tuple)]
