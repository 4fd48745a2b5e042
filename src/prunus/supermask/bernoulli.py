"""Masks that are drawn anew at every step, each entry with a probability that is learned."""

import math

import torch
from torch import Generator, Tensor, nn

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.straight_through import through
from prunus.supermask.learning import rescaled, with_masks
from prunus.supermask.start import Start
from prunus.supermask.supermask import Supermask, check_rescale


class _Chances(nn.Module):
    def __init__(self, logits: Tensor, rescale: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)
        self._rescale = rescale

    def forward(self, weight: Tensor) -> Tensor:
        chances = self.logits.sigmoid()
        kept = torch.rand_like(chances) < chances if self.training else self.likely()
        return rescaled(weight, kept, self._rescale) * through(kept, chances)

    def likely(self) -> Tensor:
        return self.logits > 0


class Bernoulli:
    """Weights times Bern(sigmoid(m)), sampled at each step; in evaluation those that are likelier kept than not.

    The gradient of m goes straight through the sample, as if it were sigmoid(m). Each tensor is larger by the factor
    (total / kept)^`rescale` of its sample, which gets no gradient: 1 is the paper's "dynamic weight rescaling". All m
    start so that entries are kept with `chance`. One that stays at exactly 0, as inputs that are always zero leave it,
    keeps nothing in evaluation.

    Idea: a mask is drawn anew at every step, and training moves the chances; what becomes likely is the mask.
    Formula: w_effective = w Bern(sigmoid(m)) (total / kept)^`rescale`, dL/dm as if it were w sigmoid(m).
    Source: Zhou et al. 2019, "Deconstructing lottery tickets: zeros, signs, and the supermask", section 5.
    Use: where any density will do: how many are kept is found, not given.
    Cost: a training, for many epochs.
    Differs: the authors' code samples masks in evaluation too; here there is one mask, so one network and one file.
    """

    def __init__(self, model: nn.Module, start: Start, *, chance: float = 0.5, rescale: float = 1.0) -> None:
        if not 0 < chance < 1:
            raise PrunusError(f"the chance to be kept must be above 0 and below 1 at first, found {chance}.")
        check_rescale(rescale)
        logit = math.log(chance / (1 - chance))
        self._start, self._rescale = start, rescale
        self.network, self._layers = with_masks(
            model, start, lambda place, weight: _Chances(torch.full_like(weight, logit), rescale)
        )
        self.scores: dict[str, nn.Parameter] = {name: layer.logits for name, layer in self._layers.items()}

    def penalty(self) -> None:
        """There is none."""

    def after_step(self, step: int) -> None:
        """Nothing is to be done."""

    def found(self) -> Supermask:
        """The entries that are likelier kept than not."""
        return self._supermask({name: layer.likely() for name, layer in self._layers.items()})

    def survivors(self) -> Mask:
        """The same."""
        return self.found().mask

    @torch.no_grad()
    def sampled(self, generator: Generator) -> Supermask:
        """One sample."""
        chances = {name: logits.sigmoid() for name, logits in self.scores.items()}
        return self._supermask(
            {
                name: torch.rand(chance.shape, generator=generator, device=generator.device).to(chance.device) < chance
                for name, chance in chances.items()
            }
        )

    def state_dict(self) -> dict[str, float]:
        """What was decided before."""
        return {"rescale": self._rescale}

    def load_state_dict(self, state: object, /) -> None:
        """Nothing is to be taken back."""

    def _supermask(self, kept: dict[str, Tensor]) -> Supermask:
        return Supermask(self._start, Mask(kept), self._rescale)
