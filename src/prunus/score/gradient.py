"""Scores that ask how the loss would change: they need `gradients`, of the weights' names and shapes."""

from torch import Tensor

from prunus.tree import Tree, zipped


def taylor(weights: Tree, gradients: Tree) -> dict[str, Tensor]:
    """|w g|: the loss change that zeroing an entry causes, to first order.

    Source: Molchanov et al. 2017, "Pruning convolutional neural networks for resource efficient inference",
    eq. 7; on weights at initialisation it ranks as SNIP (Lee et al. 2019) does.
    """
    return {name: (w * g).abs() for name, (w, g) in zipped(weights, gradients)}


def gradient(weights: Tree, gradients: Tree) -> dict[str, Tensor]:
    """|g|: how strongly the loss pulls at an entry, whatever its value (`grad` of Zhou et al. 2019)."""
    return {name: g.abs() for name, (_, g) in zipped(weights, gradients)}
