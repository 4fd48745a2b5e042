"""Scores that ask how the loss would change to second order."""

from torch import Tensor

from prunus.tree import Tree, zipped


def obd(weights: Tree, hessian_diagonals: Tree) -> dict[str, Tensor]:
    """h w^2 / 2: Optimal Brain Damage, the loss change that zeroing an entry causes at a minimum.

    Idea: at a minimum the gradient is zero, so the loss changes to second order; with the Hessian taken as diagonal,
    entry by entry.
    Formula: h w^2 / 2 with h = d^2 E / d w^2.
    Source: LeCun, Denker & Solla 1990, "Optimal brain damage", section 2.
    Use: after training to convergence, with retraining between rounds; where the loss is much more bent along some
    weights than along others.
    Cost: that of the evidence, `prunus.evidence.hessian_diagonals` (the paper's sweep, about three passes over some
    data) or `hutchinson_diagonals` (any network).
    Differs: the paper drops f'' from the sweep, so nothing is negative: `gauss_newton=True`. With f'', an entry
    of negative curvature ranks below one without effect.
    """
    return {name: h * w.square() / 2 for name, (w, h) in zipped(weights, hessian_diagonals)}


def fisher(weights: Tree, squared_gradients: Tree) -> dict[str, Tensor]:
    """F w^2 / 2: `obd` with the Fisher information for the Hessian, which it equals in expectation for a perfect model.

    Idea: squared gradients of single samples need no second derivatives, and are never negative.
    Formula: F w^2 / 2 with F the mean over samples of g^2, at the labels of the data: the empirical Fisher.
    Source: Theis et al. 2018, "Faster gaze prediction with dense networks and Fisher pruning".
    Use: as `obd`, on any network that `torch.func.vmap` runs.
    Cost: a backward pass with gradients of single samples (`prunus.evidence.squared_gradients`).
    Differs: the authors prune feature maps, whose gradients they sum before they square them; here the pattern
    `channel(0)` sums the scores of single weights.
    """
    return {name: f * w.square() / 2 for name, (w, f) in zipped(weights, squared_gradients)}
