"""Scores that mean something for a whole unit: summed over the atoms of `pattern.channel`."""

from torch import Tensor

from prunus.tree import Tree, zipped


def relevance(weights: Tree, gradients: Tree) -> dict[str, Tensor]:
    """-w g: summed over what reads a unit, the error that withdrawing attention from it would add, to first order.

    Idea: every unit gets a gate alpha that its output is multiplied with; what the error would be without the unit,
    less what it is with it, is told by the slope at the open gate, without removing anything.
    Formula: rho = -dE/dalpha at alpha = 1. Only weights that read the unit see the gate, so rho is the sum of -w dE/dw
    over them: the atom of `pattern.channel(1)`. E is the linear error, the sum of |target - output|, because the slope
    of the squared one vanishes where a unit does its work well: `gradients(..., loss=evidence.linear_error)`.
    Source: Mozer & Smolensky 1989, "Skeletonization: a technique for trimming the fat from a network via relevance
    assessment".
    Use: small trained networks, some units at a time and training in between, with `channel(1)` and
    `scope.together(wiring(...).inputs)`, which adds what several layers read and all places of a feature map. A unit
    with a negative relevance does harm. With `channel(0)`, the gate is on what a unit receives, its bias left out.
    Cost: one gradient.
    Differs: the authors remove the one least relevant unit at a time, and average over patterns as they come, 0.8 of
    the past and 0.2 of the newest; here all rows count alike. Any loss will do.
    """
    return {name: -w * g for name, (w, g) in zipped(weights, gradients)}
