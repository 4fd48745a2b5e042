"""Gem-Miner: scores from 0 to 1, of which those below a half are rounded away and the least frozen out for good."""

import math

import torch
from torch import Tensor, nn

from prunus import scope
from prunus.errors import PrunusError
from prunus.mask import Mask, check_density
from prunus.straight_through import through
from prunus.supermask.learning import drawn_scores, masks_of, rescaled, with_masks
from prunus.supermask.start import Start
from prunus.supermask.supermask import Supermask, check_rescale


class _Gems(nn.Module):
    alive: Tensor

    def __init__(self, scores: nn.Parameter, rescale: float) -> None:
        super().__init__()
        self.scores, self._rescale = scores, rescale
        self.register_buffer("alive", torch.ones_like(scores, dtype=torch.bool))

    @property
    def kept(self) -> Tensor:
        return self.alive & (self.scores.detach() >= 0.5)

    def forward(self, weight: Tensor) -> Tensor:
        kept = self.kept
        return rescaled(weight, kept, self._rescale) * through(kept, self.scores * self.alive)


class GemMiner:
    """Weights times [p >= 1/2], scores p from 0 to 1, the least of which are frozen at 0 in `freezings` of equal share.

    After every `every` steps, `freezings` times, the surviving weights of all tensors become fewer by the same factor,
    until `density` of them are left. The gradient of p goes straight through the rounding; `strength` times the sum of
    p^2 is added to the loss. Scores start uniform in [0, 1]. Each tensor is (total / kept)^`rescale` times larger, for
    networks without the BatchNorm that the paper's have.

    Idea: a mask that is learned before the weights are, and is good before and after they are trained.
    Formula: w_effective = w q [p >= 1/2], where q is 1 for the part `density`^(k / K) of all weights that the first k
    of K freezings left; the loss gets `strength` * sum p^2, and p is clipped to [0, 1] after each step.
    Source: Sreenivasan et al. 2022, "Rare Gems: finding lottery tickets at initialization", algorithm 1, where the
    part that goes is printed as 1 - e^(cT): with c = ln(1 / density) / E it has to be 1 - e^(-cT).
    Use: `survivors` to train from the same start, `found` as a network that was never trained.
    Cost: a training.
    """

    def __init__(
        self,
        model: nn.Module,
        start: Start,
        density: float,
        *,
        every: int,
        freezings: int,
        strength: float = 1e-4,
        rescale: float = 0.0,
    ) -> None:
        check_density(density)
        if every < 1 or freezings < 1:
            raise PrunusError(f"weights are frozen out once or more, found {freezings} times, every {every} steps.")
        if not 0 <= strength < math.inf:
            raise PrunusError(f"strength {strength} of the penalty is negative or not finite.")
        check_rescale(rescale)
        self._start, self._density, self._strength, self._rescale = start, density, strength, rescale
        self._every, self._freezings = every, freezings
        self.network, self._layers = with_masks(
            model, start, lambda place, weight: _Gems(drawn_scores(start, place, weight, 0.0, 1.0), rescale)
        )
        self.scores: dict[str, nn.Parameter] = {name: layer.scores for name, layer in self._layers.items()}

    def penalty(self) -> Tensor:
        """`strength` times the sum of p^2 over all tensors."""
        return self._strength * torch.stack([scores.square().sum() for scores in self.scores.values()]).sum()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Bring the scores back to where they may be, and freeze the least out if it is time."""
        for layer in self._layers.values():
            layer.scores.clamp_(0, 1).mul_(layer.alive)
        number, rest = divmod(step, self._every)
        if rest == 0 and 0 < number <= self._freezings:
            self._freeze(self._density ** (number / self._freezings))

    def _freeze(self, density: float) -> None:
        worth = {name: torch.where(layer.alive, layer.scores, -1.0) for name, layer in self._layers.items()}
        for name, alive in scope.network(worth, density).items():
            self._layers[name].alive.copy_(alive)
            self._layers[name].scores.mul_(alive)

    def survivors(self) -> Mask:
        """All that was not frozen out, what is rounded away included: the mask to train the weights with afterwards."""
        return Mask({name: layer.alive.clone() for name, layer in self._layers.items()})

    def found(self) -> Supermask:
        """What is neither frozen out nor rounded away."""
        return Supermask(self._start, masks_of(self._layers), self._rescale)

    def state_dict(self) -> dict[str, float]:
        """What was decided before."""
        return {
            "density": self._density,
            "every": self._every,
            "freezings": self._freezings,
            "strength": self._strength,
            "rescale": self._rescale,
        }

    def load_state_dict(self, state: object, /) -> None:
        """Nothing is to be taken back."""
