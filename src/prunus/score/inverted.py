"""The other way round: what a score would prune first is kept."""

from collections.abc import Callable
from functools import wraps

from torch import Tensor

from prunus.tree import Tree


def inverted(score: Callable[..., Tree]) -> Callable[..., Tree]:
    """A score that asks for what `score` asks for and returns its negative (Frankle et al. 2021, section 5).

    >>> import torch
    >>> from prunus.score import magnitude
    >>> inverted(magnitude)({"weight": torch.tensor([-2.0, 1.0])})
    {'weight': tensor([-2., -1.])}
    """

    @wraps(score)
    def worth(weights: Tree, **evidence: object) -> dict[str, Tensor]:
        return {name: -value for name, value in score(weights, **evidence).items()}

    return worth
