"""What the ways to learn a mask share: a copy of the network whose frozen weights pass through masks."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from prunus import draws
from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.supermask.start import Start
from prunus.supermask.supermask import Supermask
from prunus.tree import unwrapped, weights

SCORES = 1 << 32  # streams from here on are those of scores


class Learning(Protocol):
    """A mask that is being learned: train `scores` alone, on the loss of `network` and `penalty`, from step to step."""

    @property
    def network(self) -> nn.Module:
        """The network with its masks; all that learning remembers is in its `state_dict`."""
        ...

    @property
    def scores(self) -> Mapping[str, nn.Parameter]:
        """What an optimizer is to change, by the names of the weights."""
        ...

    def penalty(self) -> Tensor | None:
        """What is added to the loss, if anything."""
        ...

    def after_step(self, step: int) -> None:
        """To be called after each optimizer step, numbered from 1."""
        ...

    def found(self) -> Supermask:
        """The mask as it is now."""
        ...

    def survivors(self) -> Mask:
        """What could still be kept: a mask to train weights with."""
        ...

    def state_dict(self) -> dict[str, float]:
        """What was decided before, so that a checkpoint of other decisions is not taken for one of these."""
        ...

    def load_state_dict(self, state: Any, /) -> None:
        """Nothing is to be taken back."""
        ...


def rescaled(weight: Tensor, kept: Tensor, rescale: float) -> Tensor:
    """`weight` times (total / kept)^`rescale`, a number that gets no gradient."""
    return weight * (kept.numel() / kept.sum().clamp(min=1)) ** rescale if rescale else weight


def drawn_scores(start: Start, place: int, weight: Tensor, low: float, high: float) -> nn.Parameter:
    """Scores of the n-th weight from [low, high), laid out in memory like it, which multiplying is faster with."""
    scores = draws.uniform(start.seed, SCORES + place, tuple(weight.shape), low, high)
    return nn.Parameter(torch.empty_like(weight).copy_(scores))


def with_masks(
    model: nn.Module, start: Start, layer: Callable[[int, Tensor], nn.Module]
) -> tuple[nn.Module, dict[str, Any]]:
    """A copy of `model`, drawn and frozen, whose n-th weight goes through `layer(n, weight)`; and the layers by name.

    `model` is left as it is. Raises `PrunusError` for tied weights.
    """
    network = deepcopy(unwrapped(model))
    start.apply_to(network)
    network.requires_grad_(False)
    names = [name for name, _ in network.named_parameters(remove_duplicate=False)]
    if tied := set(names) - {name for name, _ in network.named_parameters()}:
        raise PrunusError(f"{min(tied)} is tied to another weight, and a mask is learned for each place.")
    prunable = weights(network)
    layers = {name: layer(place, weight.detach()) for place, (name, weight) in enumerate(prunable.items())}
    for name, masked in layers.items():
        owner, _, attribute = name.rpartition(".")
        parametrize.register_parametrization(network.get_submodule(owner), attribute, masked, unsafe=True)
    return network, layers


def masks_of(layers: Mapping[str, Any]) -> Mask:
    """The masks of layers that have one as `kept`."""
    return Mask({name: layer.kept.clone() for name, layer in layers.items()})


def bake(learning: Learning, supermask: Supermask, model: nn.Module) -> None:
    """Make `model`, the one that `learning` began with, the plain network of `supermask`, statistics included."""
    supermask.apply_to(model)
    learned = dict(learning.network.named_buffers())
    for name, buffer in unwrapped(model).named_buffers():
        buffer.copy_(learned[name])
