"""Scores that mean something for a whole unit: summed over the atoms of `pattern.channel`."""

from torch import Tensor

from prunus.tree import Tree, zipped


def relevance(weights: Tree, gradients: Tree) -> dict[str, Tensor]:
    """-w g: summed over what reads a unit, the error that would be added if attention to it were withdrawn.

    Skeletonization: every unit gets a gate alpha that its output is multiplied with; its relevance, E without the unit
    less E with it, is to first order rho = -dE/dalpha at alpha = 1. Only the weights that read the unit see the gate,
    so rho is the sum of -w dE/dw over them: the atom of `pattern.channel(1)`. `scope.together` with the numbers that
    `shrinking.wiring` has for inputs adds what several layers read, and all places of a feature map. With `channel(0)`
    the gate is on what a unit receives, its bias left out.

    The paper's E is the linear error, sum |target - output|, because the squared one has no slope where a unit matters
    most, at the targets: `gradients(..., loss=evidence.linear_error)`; any loss will do. Its authors average over
    patterns as they come, 0.8 of the past and 0.2 of the newest; here all rows count alike. They remove the one least
    relevant unit and retrain, again and again.

    For small networks, and where a unit may be harmful: a negative relevance says that the error falls without it. One
    backward pass over the data. Source: Mozer & Smolensky 1989, "Skeletonization: a technique for trimming the fat
    from a network via relevance assessment".
    """
    return {name: -w * g for name, (w, g) in zipped(weights, gradients)}
