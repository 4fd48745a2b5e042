"""Least squares for the weights that a mask keeps, and how far a layer's outputs are from what they were."""

import torch
from torch import Tensor, nn

from prunus.layerwise.elimination import compensated
from prunus.layerwise.problems import measured
from prunus.mask import Mask
from prunus.tree import Tree, plain_weights, zipped


@torch.no_grad()
def reconstruct(model: nn.Module | Tree, mask: Mask, grams: Tree, *, damping: float = 0.01) -> dict[str, Tensor]:
    """The weights of `mask` that change each layer's outputs least: least squares for any method's mask.

    `grams` are `prunus.evidence.input_grams`; weights without one are only masked.

    Idea: what a mask takes from a row of a layer, the weights that the row keeps make up for as well as they can.
    Formula: min ||(w - v) X||^2 over v that are zero where pruned: v = w - H^-1 E (E^T H^-1 E)^-1 E^T w, with H = X X^T
    plus `damping` times the mean of its diagonal, and E the pruned entries.
    Source: the least squares of He, Zhang & Sun 2017, "Channel pruning for accelerating very deep neural networks".
    Use: after a mask from magnitude or Wanda, if there is data but no time to train.
    Cost: p^3 / 3 for each row, with p the most entries that a row has lost.
    Differs: the paper prunes channels, and fits all rows of a layer to the same ones (`structured.select_channels`);
    here every row is fitted to the weights that it keeps.

    Raises `PrunusError` for a mask or grams that do not fit, and inputs that depend on each other where `damping` is 0.
    """
    own = plain_weights(model)
    moved = mask.apply(own)
    for name, weight, parts in measured(own, {n: gram for n, gram in grams.items() if n in mask}):
        alive = mask[name].to(weight.device).flatten(1).chunk(len(parts))
        rows = [compensated(p.rows, p.inverse(damping), kept) for p, kept in zip(parts, alive, strict=True)]
        moved[name] = torch.cat(rows).reshape(weight.shape).to(weight)
    return moved


@torch.no_grad()
def layer_errors(model: nn.Module | Tree, changed: Tree, grams: Tree) -> dict[str, float]:
    """||(W - V) X||^2 / ||W X||^2 of each layer with a gram, V its `changed` weights.

    0 is no change, 1 a layer of zeros; 0 / 0 is NaN: a layer that reads or gives nothing.
    """
    own = plain_weights(model)
    errors = {}
    for name, weight, parts in measured(own, grams):
        _, (_, after) = next(zipped({name: weight}, {name: changed[name]}))
        moved = after.flatten(1).double().chunk(len(parts))
        lost = sum(_energy(part.rows - v, part.gram) for part, v in zip(parts, moved, strict=True))
        errors[name] = float(lost / sum(_energy(part.rows, part.gram) for part in parts))
    return errors


def _energy(rows: Tensor, gram: Tensor) -> Tensor:
    return ((rows @ gram) * rows).sum()
