"""Pruning while training: the mask falls along a schedule, the survivors train on."""

from prunus.holding import Hold
from prunus.pruning import Score, prune
from prunus.schedule import Schedule
from prunus.scope import Scope, network
from prunus.score import magnitude
from prunus.sparse import SparseHold


class Gradual:
    """Gradual pruning of the weights that `hold` or `hold_sparse` holds: call it after every optimizer step.

    Every `every` steps until `end`, the entries that score best among the kept ones stay, as many as `density`
    (a function of the step) says. Source: Zhu & Gupta 2017, "To prune, or not to prune", with any score.
    """

    def __init__(
        self,
        held: Hold | SparseHold,
        density: Schedule,
        *,
        end: int,
        every: int = 100,
        score: Score = magnitude,
        scope: Scope = network,
    ) -> None:
        self.held, self.density = held, density
        self.end, self.every, self.score, self.scope = end, every, score, scope

    def __call__(self, step: int) -> None:
        """Prune if step `step` (from 1) is one at which to."""
        if step == self.end or (step < self.end and step % self.every == 0):
            mask = prune(self.held.weights, self.score, self.density(step), scope=self.scope, within=self.held.mask)
            self.held.update(mask)
