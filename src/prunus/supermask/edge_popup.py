"""Edge-popup: each edge has a score, and the best of them are the network."""

from math import prod

import torch
from torch import Tensor, nn

from prunus import scope as scopes
from prunus.mask import Mask, check_density
from prunus.scope import Scope
from prunus.straight_through import through
from prunus.supermask.learning import drawn_scores, masks_of, with_masks
from prunus.supermask.start import Start
from prunus.supermask.supermask import Supermask


class _Edges(nn.Module):
    kept: Tensor

    def __init__(self, scores: nn.Parameter) -> None:
        super().__init__()
        self.scores = scores
        self.register_buffer("kept", torch.zeros_like(scores, dtype=torch.bool))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * through(self.kept, self.scores.abs())


class EdgePopup:
    """The edges of the largest |score| are kept: so many as `density` says, in each tensor or as another scope has it.

    The gradient of a score is that of its effective weight, times the weight, times the sign of the score. Scores
    start uniform within 1 / sqrt(fan in), which is Kaiming's with a = sqrt(5).

    Idea: a wide random network holds a good one already; learn which edges to keep, never what they weigh.
    Formula: the effective weight is w where |score| is among the largest, else 0; its gradient times w sign(score) is
    that of the score.
    Source: Ramanujan et al. 2020, "What's hidden in a randomly weighted neural network?", section 3.2.
    Use: where the file is to be a seed and a mask, of half the weights or so; far sparser, layers break.
    Cost: a training, and a ranking of all scores at every step.
    Differs: the paper ranks scores; its authors' code, and this, ranks |score|.
    """

    def __init__(self, model: nn.Module, start: Start, density: float, *, scope: Scope = scopes.tensor) -> None:
        def layer(place: int, weight: Tensor) -> nn.Module:
            bound = max(1, prod(weight.shape[1:])) ** -0.5
            return _Edges(drawn_scores(start, place, weight, -bound, bound))

        check_density(density)
        self._start, self._density, self._scope = start, density, scope
        self.network, self._layers = with_masks(model, start, layer)
        self.scores: dict[str, nn.Parameter] = {name: layer.scores for name, layer in self._layers.items()}
        self.after_step(0)

    def penalty(self) -> None:
        """There is none."""

    def after_step(self, step: int) -> None:
        """Choose anew."""
        kept = self._scope({name: scores.detach().abs() for name, scores in self.scores.items()}, self._density)
        for name, layer in self._layers.items():
            layer.kept.copy_(kept[name])

    def found(self) -> Supermask:
        """The edges that are kept now."""
        return Supermask(self._start, masks_of(self._layers))

    def survivors(self) -> Mask:
        """The same."""
        return self.found().mask

    def state_dict(self) -> dict[str, float]:
        """What was decided before."""
        return {"density": self._density}

    def load_state_dict(self, state: object, /) -> None:
        """Nothing is to be taken back."""
