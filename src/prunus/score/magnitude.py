"""Scores of Zhou et al. 2019, "Deconstructing lottery tickets", figure 3 and its supplement.

Each reads the trained weights w_f and, where it asks for `initial`, the weights w_i that training began with.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from prunus.ranking import ranks
from prunus.tree import Tree, zipped


def magnitude(weights: Tree) -> dict[str, Tensor]:
    """|w_f|: `large final`, the criterion of Han et al. 2015 and of the lottery ticket hypothesis.

    Idea: what is nearly zero after training does nearly nothing.
    Formula: |w|.
    Source: Han et al. 2015, "Learning both weights and connections for efficient neural networks", section 3.
    Use: after training, with more training behind it, again and again (`ticket.find`) or as it goes (`gradual`).
    Cost: none.
    Differs: Han's threshold is a multiple of the standard deviation of each layer (`pruning.threshold`); here a density
    is given, and met exactly.

    >>> magnitude({"weight": torch.tensor([-2.0, 1.0])})
    {'weight': tensor([2., 1.])}
    """
    return {name: w.abs() for name, w in weights.items()}


def small_final(weights: Tree) -> dict[str, Tensor]:
    """-|w_f|: magnitude inverted, a sanity check."""
    return {name: -w.abs() for name, w in weights.items()}


def large_initial(weights: Tree, initial: Tree) -> dict[str, Tensor]:
    """|w_i|: `large init`."""
    return _of_both(weights, initial, lambda final, start: start.abs())


def small_initial(weights: Tree, initial: Tree) -> dict[str, Tensor]:
    """-|w_i|: `small init`."""
    return _of_both(weights, initial, lambda final, start: -start.abs())


def large_initial_large_final(weights: Tree, initial: Tree) -> dict[str, Tensor]:
    """min(rank |w_i|, rank |w_f|) within each tensor: `large init, large final`.

    Keeping the best of this score is the AND of two masks, each the top of one ranking, at whatever common
    percentile their AND has the density asked for.
    """
    return _of_both(weights, initial, lambda final, start: torch.minimum(ranks(final.abs()), ranks(start.abs())))


def small_initial_small_final(weights: Tree, initial: Tree) -> dict[str, Tensor]:
    """min(rank -|w_i|, rank -|w_f|) within each tensor: `small init, small final`."""
    return _of_both(weights, initial, lambda final, start: torch.minimum(ranks(-final.abs()), ranks(-start.abs())))


def magnitude_increase(weights: Tree, initial: Tree) -> dict[str, Tensor]:
    """|w_f| - |w_i|."""
    return _of_both(weights, initial, lambda final, start: final.abs() - start.abs())


def movement(weights: Tree, initial: Tree) -> dict[str, Tensor]:
    """|w_f - w_i|: how far an entry went. Movement pruning (Sanh et al. 2020) is `reparametrised.Movement`."""
    return _of_both(weights, initial, lambda final, start: (final - start).abs())


def large_final_same_sign(weights: Tree, initial: Tree) -> dict[str, Tensor]:
    """max(0, w_i w_f / |w_i|): |w_f| where training kept the sign, 0 where it flipped."""
    return _of_both(weights, initial, lambda final, start: (final * start.sign()).clamp(min=0))


def large_final_different_sign(weights: Tree, initial: Tree) -> dict[str, Tensor]:
    """max(0, -w_i w_f / |w_i|): |w_f| where training flipped the sign, 0 where it kept it."""
    return _of_both(weights, initial, lambda final, start: (-final * start.sign()).clamp(min=0))


def magnitude_increase_same_sign(weights: Tree, initial: Tree) -> dict[str, Tensor]:
    """|w_f| - |w_i| where the sign stayed; entries whose sign flipped rank below all of those."""
    return _of_both(weights, initial, lambda final, start: _increase_where(final * start > 0, final, start))


def magnitude_increase_different_sign(weights: Tree, initial: Tree) -> dict[str, Tensor]:
    """|w_f| - |w_i| where the sign flipped; entries whose sign stayed rank below all of those."""
    return _of_both(weights, initial, lambda final, start: _increase_where(final * start < 0, final, start))


def _increase_where(chosen: Tensor, final: Tensor, start: Tensor) -> Tensor:
    return torch.where(chosen, final.abs() - start.abs(), torch.finfo(final.dtype).min)


def _of_both(weights: Tree, initial: Tree, worth: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
    return {name: worth(final, start) for name, (final, start) in zipped(weights, initial)}
