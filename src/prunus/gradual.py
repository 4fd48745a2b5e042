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
    (a function of the step) says. Raises `PrunusError` where that leaves a tensor with nothing, unless `allow_empty`.

    Idea: what is pruned while it still learns leaves its work to others, most of it early, when there is most to spare.
    Formula: with `schedule.cubic`, d = d_f + (1 - d_f) (1 - (t - t_0) / (t_1 - t_0))^3.
    Source: Zhu & Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model compression".
    Use: where a network is trained anyway, and may be dense at first; some steps after `end` let it recover.
    Cost: one training, dense at first (`hold_sparse` makes it cheaper as the mask falls), a ranking each `every` steps.
    Differs: any score may be taken. In the authors' code masked weights keep their values and return where they rank
    among the largest again, as in `reparametrised.DynamicPruning`; here what has gone stays gone.
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
        allow_empty: bool = False,
    ) -> None:
        self.held, self.density, self.allow_empty = held, density, allow_empty
        self.end, self.every, self.score, self.scope = end, every, score, scope

    def __call__(self, step: int) -> None:
        """Prune if step `step` (from 1) is one at which to."""
        if step == self.end or (step < self.end and step % self.every == 0):
            mask = prune(
                self.held.weights,
                self.score,
                self.density(step),
                scope=self.scope,
                within=self.held.mask,
                allow_empty=self.allow_empty,
            )
            self.held.update(mask)
