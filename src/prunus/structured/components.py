"""Layers that read the principal components of their inputs, so that components can be pruned like channels."""

from collections.abc import Collection, Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from prunus.batches import Batch
from prunus.errors import PrunusError
from prunus.modes import mode
from prunus.structured.layers import layer_of
from prunus.tree import Tree, unwrapped


def component(weights: Tree, variances: Tree) -> dict[str, Tensor]:
    """lambda_j w_ij^2: summed over what reads component j of a layer's inputs, the output's change without it.

    Idea: a direction of small variance may matter, and one of large variance may not: what counts is how much of it the
    layer passes on.
    Formula: where the inputs u of a layer W are uncorrelated, with E[u_j^2] = lambda_j, the mean squared change of W u
    without component j is lambda_j |W[:, j]|^2, and that without several is the sum.
    Source: Levin, Leen & Moody 1994, "Fast pruning using principal components".
    Use: with the pattern `channel(1)`, for the weights and `variances`, (in,) of each, that `in_components` gives.
    Cost: one pass over the weights.
    Differs: for convolutions, components at neighbouring pixels are correlated, and the sum is an estimate; the source
    has fully connected layers alone.

    >>> component({"weight": torch.tensor([[3.0, 1.0]])}, {"weight": torch.tensor([1.0, 100.0])})
    {'weight': tensor([[  9., 100.]])}
    """
    return {name: w.square() * variances[name].reshape(1, -1, *[1] * (w.ndim - 2)).to(w) for name, w in weights.items()}


@torch.no_grad()
def in_components(
    model: nn.Module, names: Collection[str], batches: Iterable[Batch]
) -> tuple[nn.Module, dict[str, Tensor]]:
    """A copy of `model` that computes the same, each layer of the weights `names` a rotation and what reads it.

    Idea: the inputs of a layer are correlated, and lie near few directions; directions that hardly change its output
    go.
    Formula: with E[u u^T] = C diag(lambda) C^T over all rows of `batches` (and positions, of convolutions), W u = (W
    C)(C^T u). A layer "x" becomes "x.basis", which makes the components C^T u, and "x.reader". Also given are lambda,
    (in,) for each weight "x.reader.weight", largest first, the evidence for `component`.
    Source: Levin, Leen & Moody 1994, "Fast pruning using principal components".
    Use: trained networks with many correlated inputs, without training on. Of n inputs and m outputs with r components
    kept, r (n + m) weights are left of n m. `batches` yields (inputs, labels).
    Cost: one pass over the data, and an eigendecomposition for each layer.
    Differs: the authors leave W C_r C_r^T in the place of W, as many weights of a lower rank; they go from the first
    layer to the last, each measured where those before are pruned, as far as the error on held-out data does not rise.
    Here all layers are measured as the network is; call it layer by layer for theirs.

        network, variances = in_components(model, ["fc1.weight"], batches)
        readers = {name: network.get_parameter(name) for name in variances}
        mask = prune(readers, component, 0.3, pattern=channel(1), variances=variances)
        small = shrink(network, mask, example=x)

    Raises `PrunusError` for weights of anything but Linear and Conv2d without groups, and without batches.
    """
    network = deepcopy(unwrapped(model))
    layers = {name: layer_of(network, name) for name in names}
    moments = _second_moments(network, layers, batches)
    variances = {}
    for name, layer in layers.items():
        values, vectors = torch.linalg.eigh(moments[name])
        variance, basis = values.flip(0).clamp(min=0), vectors.flip(1)  # (in,), (in, in): columns are directions
        path = name.removesuffix("weight").rstrip(".")
        parts = _in_two(layer, basis)
        if path:
            network.set_submodule(path, parts)
        else:
            network = parts
        variances[f"{path}.reader.weight".removeprefix(".")] = variance.to(layer.weight)
    return network.train(model.training), variances


def _second_moments(
    network: nn.Module, layers: dict[str, nn.Linear | nn.Conv2d], batches: Iterable[Batch]
) -> dict[str, Tensor]:
    """The mean of u u^T over everything u (in,) that each layer reads."""
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(layers, 0)

    def adding(name: str, layer: nn.Module) -> RemovableHandle:
        def add(_: nn.Module, args: tuple[Tensor]) -> None:
            inputs = args[0].movedim(1, -1) if isinstance(layer, nn.Conv2d) else args[0]
            rows = inputs.flatten(0, -2).double()
            sums[name] = sums.get(name, 0) + rows.T @ rows
            counts[name] += len(rows)

        return layer.register_forward_pre_hook(add)

    handles = [adding(name, layer) for name, layer in layers.items()]
    try:
        with mode(network, training=False):
            for inputs, _ in batches:
                network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    if missing := [name for name in layers if not counts[name]]:
        raise PrunusError(f"{missing[0]}: no input was seen, components need at least one batch.")
    return {name: total / counts[name] for name, total in sums.items()}


def _in_two(layer: nn.Linear | nn.Conv2d, basis: Tensor) -> nn.Sequential:
    count = len(basis)
    first = nn.Linear(count, count, bias=False) if type(layer) is nn.Linear else nn.Conv2d(count, count, 1, bias=False)
    first.to(layer.weight)
    first.weight.copy_(basis.T.reshape(first.weight.shape))
    reader = deepcopy(layer)
    rotated = torch.tensordot(layer.weight.double(), basis, ([1], [0])).movedim(-1, 1)
    reader.weight.copy_(rotated)
    parts = nn.Sequential()
    parts.add_module("basis", first)
    parts.add_module("reader", reader)
    return parts
