"""Scores that ask how the loss, or its slope, would change: they need what `prunus.evidence` measures."""

from torch import Tensor

from prunus.tree import Tree, zipped


def taylor(weights: Tree, gradients: Tree) -> dict[str, Tensor]:
    """|w g|: the loss change that zeroing an entry causes, to first order; at initialisation this is SNIP.

    Idea: an entry whose removal hardly moves the loss is not needed; one look at data tells, before any training.
    Formula: |w g| = |dL/dc| at c = 1, where every weight is c w.
    Source: Lee et al. 2019, "SNIP: single-shot network pruning based on connection sensitivity"; after training, and of
    feature maps, Molchanov et al. 2017, "Pruning convolutional neural networks for resource efficient inference".
    Use: before training, with `scope.network`, in one shot; where that would empty layers, with `pruning.iterate` along
    `schedule.rounds` (Verdenius et al. 2020, "Pruning via iterative ranking of sensitivity statistics"; de Jorge et al.
    2021, "Progressive skeletonization").
    Cost: one gradient; iterated, one a round.
    Differs: SNIP's authors take one batch, score biases too, and draw weights anew for what they then train; that they
    divide by the sum of all scores ranks alike. BatchNorm works there as in evaluation, which before training leaves
    its input as it is; in `evidence.gradients` it then normalises by the batch, as it will in training.
    """
    return {name: (w * g).abs() for name, (w, g) in zipped(weights, gradients)}


def gradient(weights: Tree, gradients: Tree) -> dict[str, Tensor]:
    """|g|: how strongly the loss pulls at an entry, whatever its value (`grad` of Zhou et al. 2019, growth of RigL)."""
    return {name: g.abs() for name, (_, g) in zipped(weights, gradients)}


def momentum(weights: Tree, momenta: Tree) -> dict[str, Tensor]:
    """|m|: how strongly the loss has pulled at an entry of late, m the running mean of its gradients.

    Source: Dettmers & Zettlemoyer 2019, "Sparse networks from scratch": where `rewiring.sparse_momentum` grows.
    """
    return {name: m.abs() for name, (_, m) in zipped(weights, momenta)}


def grasp(weights: Tree, hessian_gradients: Tree) -> dict[str, Tensor]:
    """w (H g): what the squared norm of the gradient loses when an entry is zeroed, halved, to first order.

    Idea: what should survive is not the loss but its slope, which training will go down: entries whose removal would
    make the gradient smaller are kept, those whose removal makes it larger go first.
    Formula: keep the highest w (H g), g the gradient and H the Hessian of the loss at softened logits, logits / 200.
    Source: Wang et al. 2020, "Picking winning tickets before training by preserving gradient flow", algorithm 1. It
    prints S(-w) = -w (H g) and removes the highest: the same.
    Use: before training, in one shot, with `scope.network`.
    Cost: two gradients and a Hessian product over the data, about four gradients.
    Differs: its authors draw the weights of linear layers anew before they score, and look at 10 to 25 images of each
    class (`evidence.of_each_class`) in two halves.
    """
    return {name: w * hg for name, (w, hg) in zipped(weights, hessian_gradients)}
