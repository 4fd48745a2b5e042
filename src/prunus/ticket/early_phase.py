"""Weights of a ticket at step k, changed on purpose: which of their properties does training on need?

Source: Frankle, Schwab & Morcos 2020, "The early phase of neural network training", section 5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from prunus.errors import PrunusError, unknown
from prunus.mask import Mask
from prunus.ticket.actions import deviation, permuted
from prunus.tree import Tree, detached, zipped


@dataclass(frozen=True, eq=False)
class Layer:
    """One tensor of weights at step k (w_k) and at the start (`initial`, w_0), and what changes may ask for."""

    generator: torch.Generator
    amount: float
    kept: Tensor  # bool, of the shape of both others
    weights: Tensor
    initial: Tensor


@torch.no_grad()
def perturbed(
    weights: Tree,
    initial: Tree,
    mask: Mask,
    *,
    change: str,
    amount: float,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Copies of `weights` whose kept entries went through `change`, a name in `CHANGES`.

    `amount` is that of the noise, no other change reads it. Pruned entries, and tensors that the mask does not name,
    stay as they are. Raises `PrunusError` for an unknown name, noise that is negative or not finite, and where the
    mask does not fit.

    >>> weights, initial = {"weight": torch.tensor([2.0, -2.0])}, {"weight": torch.tensor([-1.0, 1.0])}
    >>> mask = Mask({"weight": torch.tensor([True, False])})
    >>> perturbed(weights, initial, mask, change="signs", amount=0.0, generator=torch.Generator())
    {'weight': tensor([ 1., -2.])}
    """
    if change not in CHANGES:
        raise unknown("change", change, CHANGES)
    result = detached(weights)
    named = [{name: tree[name] for name in mask if name in tree} for tree in (result, initial)]
    for name, (kept, now, first) in zipped(mask, *named):
        layer = Layer(generator, amount, kept, now, first.to(now))
        result[name] = torch.where(kept, CHANGES[change](layer), now)
    return result


def signs(layer: Layer) -> Tensor:
    """sign(w_k) |w_0|: nothing but the signs is left of training so far."""
    return layer.weights.sign() * layer.initial.abs()


def initial_signs(layer: Layer) -> Tensor:
    """sign(w_0) |w_k|: nothing but the magnitudes is left of training so far."""
    return layer.initial.sign() * layer.weights.abs()


def shuffled(layer: Layer) -> Tensor:
    """Kept values at random among their places in the layer."""
    return permuted(layer.weights, layer.kept, layer.generator)


def shuffled_within_sign(layer: Layer) -> Tensor:
    """Kept values at random among the places in the layer of the same sign."""
    positive = permuted(layer.weights, layer.kept & (layer.weights > 0), layer.generator)
    return permuted(positive, layer.kept & (layer.weights < 0), layer.generator)


def shuffled_in_filter(layer: Layer) -> Tensor:
    """Kept values at random among their places in the filter or row of weights of one output."""
    result = layer.weights.clone()
    for output, kept in zip(result, layer.kept, strict=True):
        output.copy_(permuted(output, kept, layer.generator))
    return result


def noised(layer: Layer) -> Tensor:
    """Plus Gaussian noise of `amount` times the standard deviation of the layer's kept values."""
    if not 0 <= layer.amount < inf:
        raise PrunusError(f"noise of {layer.amount} standard deviations: expected a finite number, 0 or more.")
    weights, device = layer.weights, layer.generator.device
    noise = torch.randn(weights.shape, generator=layer.generator, device=device, dtype=weights.dtype).to(weights.device)
    return weights + layer.amount * deviation(weights[layer.kept]) * noise


CHANGES: dict[str, Callable[[Layer], Tensor]] = {
    "signs": signs,
    "initial_signs": initial_signs,
    "shuffled": shuffled,
    "shuffled_within_sign": shuffled_within_sign,
    "shuffled_in_filter": shuffled_in_filter,
    "noised": noised,
}
