"""Network slimming: channels are worth the scales that BatchNorm gives them.

Source: Liu et al. 2017, "Learning efficient convolutional networks through network slimming".
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.pruning import prune
from prunus.ranking import keep_largest
from prunus.scope import Scope, network
from prunus.score import magnitude
from prunus.tree import Tree, parameters


def scales(model: nn.Module) -> dict[str, nn.Parameter]:
    """The BatchNorm weights (channels,) of `model` by name, each once; raises `PrunusError` where it has none."""
    own = {id(layer.weight) for layer in model.modules() if isinstance(layer, _BatchNorm)}
    found = {name: parameter for name, parameter in parameters(model).items() if id(parameter) in own}
    if not found:
        raise PrunusError(f"{type(model).__name__} has no BatchNorm scales to rank channels by.")
    return found


def penalty(model: nn.Module) -> Tensor:
    """The sum of |gamma| over all BatchNorm scales, a scalar to be added to the loss, times 1e-4 in the paper.

    `GroupLasso(optimizer, scales(model), 1e-4, pattern=element)` takes scales to zero itself.
    Raises `PrunusError` for a model without BatchNorm scales.

    >>> penalty(nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(2))).item()
    5.0
    """
    return torch.stack([scale.abs().sum() for scale in scales(model).values()]).sum()


def largest(scales: Tree, density: float, *, scope: Scope = network) -> Mask:
    """The mask that keeps `density` of all channels, those with the largest BatchNorm scales |gamma|.

    >>> largest({"first": torch.tensor([0.1, -3.0]), "second": torch.tensor([2.0, 1.0])}, 0.5)["first"].tolist()
    [False, True]
    """
    return prune(scales, magnitude, density, scope=scope, allow_empty=True)


def spared(mask: Mask, scales: Tree) -> Mask:
    """`mask`, and of every layer that it empties, which would end the network, the largest of `scales`.

    >>> found = {"first": torch.tensor([0.1, -0.3]), "second": torch.tensor([2.0, 1.0])}
    >>> spared(largest(found, 0.5), found)["first"].tolist()
    [False, True]
    """
    best = {name: keep_largest([scales[name].detach().abs()], 1)[0] for name, kept in mask.items() if not kept.any()}
    return Mask({**mask, **best})


def with_shifts(model: nn.Module, mask: Mask) -> Mask:
    """`mask`, of BatchNorm scales, with the shifts beside them: a channel that has neither gives zero."""
    own = parameters(model)
    shifts = {name.removesuffix("weight") + "bias": kept for name, kept in mask.items()}
    return Mask({**mask, **{name: kept for name, kept in shifts.items() if name in own}})


def keep_channels(model: nn.Module, density: float, *, scope: Scope = network) -> Mask:
    """The mask of scales and shifts that keeps `density` of `model`'s BatchNorm channels, and one of each layer.

    Idea: BatchNorm multiplies every channel with a scale, which is how much of it the next layer sees; training with a
    penalty makes small the scales that are not needed, and the smallest of all layers go.
    Formula: the loss plus 1e-4 times the sum of |gamma|, then keep the largest |gamma|.
    Source: Liu et al. 2017, "Learning efficient convolutional networks through network slimming", section 3.
    Use: networks that train with BatchNorm behind their convolutions, and with `penalty` or `GroupLasso` on their
    `scales`; `shrink` with the mask removes the channels, those joined by an addition where all of them are pruned;
    then train on.
    Cost: a sort of the scales.
    Differs: a layer that would keep nothing keeps its largest, beyond the density. Where a block of a residual network
    begins with BatchNorm, the authors' code puts a layer in front that selects channels of the trunk; here the trunk
    loses only what no block reads.

    >>> model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    >>> _ = nn.init.constant_(model[1].weight[1:], 0.5)
    >>> keep_channels(model, 0.25)["1.bias"].tolist()
    [True, False, False, False]
    """
    found = scales(model)
    return with_shifts(model, spared(largest({n: s.detach() for n, s in found.items()}, density, scope=scope), found))
