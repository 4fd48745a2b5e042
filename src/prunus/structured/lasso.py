"""Group lasso: training that takes whole groups of weights to exactly zero."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from prunus.errors import PrunusError
from prunus.pattern import Pattern
from prunus.tree import Tree


def penalty(values: Tree, pattern: Pattern) -> Tensor:
    """The sum of |w_g|_2 over all groups of all tensors: a scalar to be added to a loss, times its strength.

    Groups are the atoms of `pattern`: `channel(0)` filters, `channel(1)` input channels, `column` filter shapes,
    `whole` layers around which there is a shortcut. The slope at a group of zeros is 0. Penalties of several patterns
    may be added; groups then hover about zero, where `GroupLasso` takes them to it. Source: Wen et al. 2016, "Learning
    structured sparsity in deep neural networks".

    >>> from prunus.pattern import channel
    >>> penalty({"weight": torch.tensor([[3.0, 4.0], [0.0, 0.0]])}, channel(0)).item()
    5.0
    """
    return torch.stack([_norms(value, pattern).sum() for value in values.values()]).sum()


@torch.no_grad()
def proximal(weight: Tensor, pattern: Pattern, threshold: float) -> Tensor:
    """The v that minimises |v - weight|^2 / 2 + `threshold` times the sum of |v_g|_2 over the groups of `pattern`.

    Closed form: w_g max(0, 1 - threshold / |w_g|), with +0.0 where a group is no longer than the threshold. With
    `element` it is soft thresholding. Source: Yuan & Lin 2006, "Model selection and estimation in regression with
    grouped variables". Raises `PrunusError` for a threshold below 0.

    >>> from prunus.pattern import channel
    >>> proximal(torch.tensor([[3.0, 4.0], [0.6, -0.8]]), channel(0), 1.0)
    tensor([[2.4000, 3.2000],
            [0.0000, 0.0000]])
    """
    if not threshold >= 0:
        raise PrunusError(f"a threshold is not negative, found {threshold}.")
    norms = _norms(weight, pattern)
    factors = torch.where(norms > threshold, 1 - threshold / norms, 0)
    spread = pattern.entries(factors, weight.shape)
    return torch.where(spread > 0, weight * spread, 0)


class GroupLasso:
    """Proximal steps against the sum of |w_g|_2 over groups of `values`: call it after every optimizer step.

    Idea: the loss plus `strength` times the lengths of all groups is least where whole groups are zero. Each step of
    the optimizer on the loss alone is followed by the minimiser of the rest, which zeroes short groups and shortens
    others.
    Formula: w_g <- w_g max(0, 1 - t / |w_g|), with t the strength times the parameter's present learning rate, and
    times 1 / (1 - momentum) where SGD has one, whose steps are longer by that.
    Source: Wen et al. 2016, "Learning structured sparsity in deep neural networks".
    Use: while a network trains, from scratch or before it is pruned; groups are the atoms of `pattern`, as `penalty`
    tells, of one size or with a strength for each. Then `Mask.of_nonzero(model)` is what is left, `spread` it to what
    reads it, and `shrink`.
    Cost: one pass over the weights a step.
    Differs: the authors' code adds the penalty's slope to the gradient, sets to zero what ends near it, and lets groups
    of several patterns overlap; a proximal step is exact for one pattern, or for several of which each lies within the
    next, smallest first. With Adam, whose steps have each a scale of their own, groups become zero too, but training
    does not settle where the sum of both is least.

        regularise = GroupLasso(optimizer, weights(model), 1e-3, pattern=channel(0))
        ...
        optimizer.step()
        regularise()

    Raises `PrunusError` for a strength below 0, and for a parameter that the optimizer does not have.
    """

    def __init__(
        self, optimizer: Optimizer, values: Mapping[str, nn.Parameter], strength: float, *, pattern: Pattern
    ) -> None:
        if not strength >= 0:
            raise PrunusError(f"strength {strength} of the penalty is negative.")
        groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
        if missing := [name for name, value in values.items() if id(value) not in groups]:
            raise PrunusError(f"not in this optimizer: {missing[:3]}.")
        self._steps = [(value, groups[id(value)]) for value in values.values()]
        self.strength, self.pattern = strength, pattern

    @torch.no_grad()
    def __call__(self, step: int = 0) -> None:
        """Shorten every group; the number of the step does not matter."""
        for value, group in self._steps:
            threshold = self.strength * float(group["lr"]) / (1 - group.get("momentum", 0.0))
            value.copy_(proximal(value, self.pattern, threshold))


def _norms(weight: Tensor, pattern: Pattern) -> Tensor:
    squares = pattern.atoms(weight.square())
    return squares.where(squares > 0, 1).sqrt() * (squares > 0)
