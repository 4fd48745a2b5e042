"""Optimal Brain Surgeon, over all weights at once and layer by layer."""

import torch
from torch import Tensor, nn

from prunus import scope as scopes
from prunus.errors import PrunusError
from prunus.layerwise.elimination import compensated, costs
from prunus.layerwise.problems import measured, split
from prunus.mask import Mask, check_density
from prunus.scope import Scope
from prunus.tree import Tree, plain_weights


@torch.no_grad()
def obs(
    model: nn.Module | Tree, inverse: Tensor, density: float, *, scope: Scope = scopes.network
) -> tuple[dict[str, Tensor], Mask]:
    """Optimal Brain Surgeon: with the whole inverse Hessian, weights go one at a time and all others make up for each.

    `inverse` is `prunus.curvature.inverse_hessian`, (n, n) over `model`'s prunable weights in their order. What `scope`
    chooses by is L_q at each weight's turn; the weights kept then move as if the others alone had gone.

    Idea: a weight matters by what its loss costs after all others have done their best to replace it; the least goes,
    H^-1 becomes that of the weights left, and again.
    Formula: L_q = w_q^2 / (2 [H^-1]_qq), to second order, if all other weights move by dw = -w_q / [H^-1]_qq H^-1 e_q.
    Source: Hassibi & Stork 1993, "Second order derivatives for network pruning: optimal brain surgeon".
    Use: small networks at a minimum, without retraining.
    Cost: n^3 for all masks together, memory n^2: some thousand weights; beyond that `woodfisher`.
    Differs: the paper computes H^-1 anew at the weights reached; here it is of the weights given. Biases stay as
    they are.

    Raises `PrunusError` for a density outside (0, 1], and an inverse of another size.
    """
    check_density(density)
    own = plain_weights(model)
    flat = torch.cat([weight.reshape(-1) for weight in own.values()]).to(inverse)
    if inverse.shape != (len(flat), len(flat)):
        raise PrunusError(f"the inverse Hessian is {tuple(inverse.shape)}, for {len(flat)} weights.")
    kept = scope(split(costs(flat[None], inverse)[0], own), density)
    alive = torch.cat([each.reshape(-1) for each in kept.values()])
    moved = split(compensated(flat[None], inverse, alive[None])[0], own)
    return {name: moved[name].to(weight) for name, weight in own.items()}, Mask(kept)


@torch.no_grad()
def l_obs(
    model: nn.Module | Tree, grams: Tree, density: float, *, scope: Scope = scopes.tensor, damping: float = 0.01
) -> tuple[dict[str, Tensor], Mask]:
    """Layer-wise Optimal Brain Surgeon: `obs` on the squared change of each layer's outputs, row by row.

    `grams` are `prunus.evidence.input_grams`; weights without one stay as they are, and are not in the mask. `damping`
    times the mean of its diagonal is added to that of H.

    Idea: the error is a quadratic with the same H for every row of W, so a layer needs one small inverse, and rows
    don't touch each other.
    Formula: of ||(W - V) X||^2 / 2 with H = X X^T, L_q = w_q^2 / (2 [H^-1]_qq), dw = -w_q / [H^-1]_qq H^-1 e_q, and
    H^-1 without q.
    Source: Dong, Chen & Pan 2017, "Learning to prune deep neural networks via layer-wise optimal brain surgeon"; exact
    as in Frantar & Alistarh 2022, "Optimal brain compression", algorithm 1.
    Use: trained networks with some hundred samples, little or no retraining; the best choice here where it is
    affordable.
    Cost: columns^3 for each row of a layer.
    Differs: Dong et al. sort the L_q once, apply the updates one after the other with the first H^-1, and mask at the
    end; here order and updates are exact, weight after weight.

    Raises `PrunusError` for a density outside (0, 1], grams that do not fit, and inputs that depend on each other where
    `damping` is 0.
    """
    check_density(density)
    own = plain_weights(model)
    worth, inverses = dict[str, Tensor](), dict[str, list[Tensor]]()
    layers = {name: (weight, parts) for name, weight, parts in measured(own, grams)}
    for name, (weight, parts) in layers.items():
        inverses[name] = [part.inverse(damping) for part in parts]
        found = [costs(part.rows, inverse) for part, inverse in zip(parts, inverses[name], strict=True)]
        worth[name] = torch.cat(found).reshape(weight.shape)
    kept = scope(worth, density)
    moved = dict(own)
    for name, (weight, parts) in layers.items():
        alive = kept[name].flatten(1).chunk(len(parts))
        rows = [compensated(p.rows, i, k) for p, i, k in zip(parts, inverses[name], alive, strict=True)]
        moved[name] = torch.cat(rows).reshape(weight.shape).to(weight)
    return moved, Mask(kept)
