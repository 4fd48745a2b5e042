"""What kept and pruned weights start from: the mask-1 and mask-0 actions of Zhou et al. 2019.

A mask-1 action gives the values of kept weights; a mask-0 action says which weights are zero instead. All others stay
at w_i, their value before training. Names in parentheses are those of the authors' published code.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from prunus.errors import PrunusError, unknown
from prunus.mask import Mask
from prunus.tree import Tree, detached, zipped


@dataclass(frozen=True, eq=False)
class Layer:
    """One tensor of weights before (`start`, w_i) and after (`trained`, w_f) training, and drawn anew (`fresh`)."""

    generator: torch.Generator
    kept: Tensor  # bool, of the shape of all others
    start: Tensor
    trained: Tensor | None = None
    fresh: Tensor | None = None


Action = Callable[[Layer], Tensor]


@torch.no_grad()
def acted(
    start: Tree,
    trained: Tree | None,
    mask: Mask,
    *,
    kept: str,
    pruned: str,
    generator: torch.Generator,
    fresh: Tree | None = None,
) -> dict[str, Tensor]:
    """Copies of `start` after the mask-1 action `kept` and the mask-0 action `pruned`, names in `KEPT` and `PRUNED`.

    `start` and `trained` are the two ends of one training run; `fresh` are weights of the same network drawn from
    another seed. Tensors that the mask does not name stay as they are. After any `pruned` but "zero", pruned weights
    are not all zero, and `hold(..., at=...)` keeps them where they are. Raises `PrunusError` for an unknown name,
    for weights that an action needs and that are not given, and where the mask does not fit.

    >>> start = {"weight": torch.tensor([3.0, -1.0, -3.0, 1.0])}
    >>> mask = Mask({"weight": torch.tensor([True, False, True, False])})
    >>> acted(start, None, mask, kept="rewind_rescaled", pruned="zero", generator=torch.Generator())
    {'weight': tensor([ 6.,  0., -6.,  0.])}
    """
    if kept not in KEPT:
        raise unknown("mask-1 action", kept, KEPT)
    if pruned not in PRUNED:
        raise unknown("mask-0 action", pruned, PRUNED)
    result = detached(start)
    moments = {"start": result, "trained": trained, "fresh": fresh}
    given = {moment: _named(tree, mask) for moment, tree in moments.items() if tree is not None}
    for name, (places, *tensors) in zipped(mask, *given.values()):
        alike = [tensor.to(result[name]) for tensor in tensors]
        layer = Layer(generator, places, **dict(zip(given, alike, strict=True)))
        values = torch.where(places, KEPT[kept](layer), layer.start)
        result[name] = torch.where(PRUNED[pruned](layer), 0, values)
    return result


def permuted(values: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
    """A copy of `values` with its entries at `places` (bool, same shape) permuted among themselves."""
    result, chosen = values.clone(), values[places]
    order = torch.randperm(len(chosen), generator=generator, device=generator.device)
    result[places] = chosen[order.to(chosen.device)]
    return result


def deviation(values: Tensor) -> Tensor:
    """The standard deviation of these very values, not of what they are drawn from; 0 where there are none."""
    return values.std(correction=0) if values.numel() else values.sum()


def rewind(layer: Layer) -> Tensor:
    """w_i, as in the lottery ticket hypothesis."""
    return layer.start


def redraw(layer: Layer) -> Tensor:
    """Values drawn anew, as the paper has re-initialisation; what its code calls so is `permute`."""
    if layer.fresh is None:
        raise PrunusError("to redraw takes `fresh`, the weights of the same network drawn from another seed.")
    return layer.fresh


def permute(layer: Layer) -> Tensor:
    """All initial values of the layer, pruned ones too, at random places (`random_reinit`)."""
    return permuted(layer.start, torch.ones_like(layer.kept), layer.generator)


def reshuffle(layer: Layer) -> Tensor:
    """The initial values of the kept weights, at random among their places (`random_reshuffle`)."""
    return permuted(layer.start, layer.kept, layer.generator)


def signed_constant(layer: Layer) -> Tensor:
    """The sign of w_i times the standard deviation of all initial values of the layer (`signed_constant`)."""
    return layer.start.sign() * deviation(layer.start)


def random_signed_constant(layer: Layer) -> Tensor:
    """That constant with all signs of the layer at random places, not tossed for (`rand_signed_constant`)."""
    return permuted(signed_constant(layer), torch.ones_like(layer.kept), layer.generator)


def signed(action: Action) -> Action:
    """The magnitudes of `action` with the signs of w_i; 0 where w_i is 0 (`signed_reinit`, `signed_reshuffle`)."""
    return lambda layer: action(layer).abs() * layer.start.sign()


def rescaled(action: Action) -> Action:
    """The values of `action` times total / kept of the layer (`_rescaling`, of rewound weights `dynamic_scaling`).

    Over several rounds `start` has to be what the network was born with, as in the code, or the factors multiply.
    """
    return lambda layer: action(layer) * (layer.kept.numel() / max(int(layer.kept.sum()), 1))


def zero(layer: Layer) -> Tensor:
    """Pruned weights are 0, as in the lottery ticket hypothesis."""
    return ~layer.kept


def freeze(layer: Layer) -> Tensor:
    """Pruned weights stay at w_i (`freeze_init`)."""
    return torch.zeros_like(layer.kept)


def freeze_zero_mask(layer: Layer) -> Tensor:
    """Pruned weights that training moved toward zero, |w_f| < |w_i|, are 0 (`freeze_init_zero_mask`)."""
    return freeze_zero_all(layer) & ~layer.kept


def freeze_zero_all(layer: Layer) -> Tensor:
    """Weights that training moved toward zero are 0, kept ones too (`freeze_init_zero_all`).

    In the code this comes before the mask-1 action, which then permutes zeros too; here it comes after it.
    """
    return _final_magnitude(layer) < layer.start.abs()


def zero_reshuffle(layer: Layer) -> Tensor:
    """Control: as many pruned weights as in `freeze_zero_mask`, at random, are 0 (`freeze_init_zero_reshuffle`)."""
    return permuted(freeze_zero_mask(layer), ~layer.kept, layer.generator)


def zero_reversed(layer: Layer) -> Tensor:
    """Control: pruned weights that training moved away from zero, |w_f| > |w_i|, are 0 (`freeze_init_zero_rev`)."""
    return (_final_magnitude(layer) > layer.start.abs()) & ~layer.kept


def _final_magnitude(layer: Layer) -> Tensor:
    if layer.trained is None:
        raise PrunusError("to see which weights moved toward zero takes `trained`, the weights after training.")
    return layer.trained.abs()


def _named(tree: Tree, mask: Mask) -> dict[str, Tensor]:
    return {name: tree[name] for name in mask if name in tree}


KEPT: dict[str, Action] = {
    "rewind": rewind,
    "redraw": redraw,
    "permute": permute,
    "reshuffle": reshuffle,
    "redraw_signed": signed(redraw),
    "permute_signed": signed(permute),
    "reshuffle_signed": signed(reshuffle),
    "signed_constant": signed_constant,
    "random_signed_constant": random_signed_constant,
    "rewind_rescaled": rescaled(rewind),
    "permute_rescaled": rescaled(permute),
    "permute_signed_rescaled": rescaled(signed(permute)),
    "signed_constant_rescaled": rescaled(signed_constant),
    "random_signed_constant_rescaled": rescaled(random_signed_constant),
}

PRUNED: dict[str, Action] = {
    "zero": zero,
    "freeze": freeze,
    "freeze_zero_mask": freeze_zero_mask,
    "freeze_zero_all": freeze_zero_all,
    "zero_reshuffle": zero_reshuffle,
    "zero_reversed": zero_reversed,
}
