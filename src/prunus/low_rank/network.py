"""Networks in which most weights are products of two thin matrices."""

from collections import Counter
from collections.abc import Collection, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from prunus.errors import PrunusError
from prunus.low_rank.factors import LowRankConv2d, LowRankLinear, Product, rank_of, split
from prunus.low_rank.lstm import LowRankLSTM
from prunus.tree import unwrapped

_TELLING = frozenset({"u.weight", "u_ih_l0", "out_proj.parametrizations.weight.original0"})  # names of some factor


def low_rank(
    model: nn.Module,
    *,
    ratio: float = 0.25,
    first: int = 1,
    last: int = 1,
    full: Collection[str] = (),
    warm: bool = True,
    norm: bool = False,
) -> nn.Module:
    """Pufferfish: a copy of `model` whose layers have low rank, but the `first` and `last` so many and those in `full`.

    Idea: a network that is narrow inside its layers from some epoch on has fewer parameters and fewer gradients to send
    around, and no zeros to skip; its first layers have to stay as they are, and it starts best from where the full one
    got in a few epochs.
    Formula: W (out, in k k) becomes V U, rank r = max(1, floor(`ratio` min(out, in k k))): of Linear two layers, of
    Conv2d one with k x k windows to r channels and one of 1x1, of LSTM a product a gate, of MultiheadAttention a
    product for each of query, key, value and output. Warm, V U is the nearest to W, by `split`; else factors are drawn
    anew. m n parameters become r (m + n).
    Source: Wang, Agarwal & Papailiopoulos 2021, "Pufferfish: communication-efficient models at no extra cost", sections
    2 and 3, algorithm 1.
    Use: train the full network for some epochs (80 of 300 in the paper), make it low rank, give the new parameters to a
    new optimizer, and go on along the same schedule of rates; `full` names shortcuts and embeddings' projections.
    Cost: a singular value decomposition of each layer, once. An LSTM takes its steps one by one, and attention forms
    its products each time it is called, so there fewer parameters are not fewer seconds.
    Differs: the authors write each hybrid network by hand, with shortcuts and, in VGG-19, nine convolutions full. An
    LSTM's rank is `ratio` times its inputs there. Their CIFAR networks have nothing between two convolutions; a
    ResNet-50 of theirs has BatchNorm there (`norm`).

    Convolutions in groups, LSTMs with projections and weights that are tied stay full. A name in `full` stands for all
    layers in the module of that name. Raises `PrunusError` for a ratio outside (0, 1] and for names that are no layers.

    >>> model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    >>> [sum(p.numel() for p in layer.parameters()) for layer in low_rank(model, ratio=0.25)]
    [72, 40, 72]
    """
    if not 0 < ratio <= 1:
        raise PrunusError(f"a rank is a part of the full rank, above 0 and at most 1, found {ratio}.")
    network = deepcopy(unwrapped(model))
    for name, layer in _chosen(network, first, last, full).items():
        network = _with(network, name, _factored(layer, ratio, warm=warm, norm=norm).train(layer.training))
    return network


def low_rank_like(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of `model` with the layers and ranks of `tensors`, the `state_dict` of what `low_rank` made of its like.

    What it holds means nothing yet where a layer has factors.

    >>> model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    >>> low_rank_like(model, low_rank(model, ratio=0.25).state_dict())[1].v
    Linear(in_features=2, out_features=8, bias=True)
    """
    network = deepcopy(unwrapped(model))
    for name, layer in _chosen(network, 0, 0, ()).items():
        start = f"{name}." if name else ""
        given = {path.removeprefix(start): tensor for path, tensor in tensors.items() if path.startswith(start)}
        if not _TELLING.isdisjoint(given):
            network = _with(network, name, _sized(layer, given).train(layer.training))
    return network


def _with(network: nn.Module, name: str, made: nn.Module) -> nn.Module:
    if not name:
        return made
    network.set_submodule(name, made)
    return network


def _chosen(network: nn.Module, first: int, last: int, full: Collection[str]) -> dict[str, nn.Module]:
    uses = Counter(id(parameter) for _, parameter in network.named_parameters(remove_duplicate=False))
    layers: dict[str, nn.Module] = {}
    inside: tuple[str, ...] = ()
    for name, module in network.named_modules():
        if name.startswith(inside) and inside:
            continue  # attention's own output layer goes along with it
        if isinstance(module, nn.MultiheadAttention):
            inside = (*inside, f"{name}." if name else "")
        if _can_be(module) and all(uses[id(parameter)] == 1 for parameter in module.parameters()):
            layers[name] = module
    names = list(layers)
    kept = {*names[:first], *names[len(names) - last :]}
    for given in full:
        found = [name for name in names if name == given or name.startswith(f"{given}.")]
        if not found:
            raise PrunusError(f"'{given}' is no layer that could have low rank; those are {', '.join(names[:8])}.")
        kept.update(found)
    return {name: layer for name, layer in layers.items() if name not in kept}


def _can_be(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return type(module) is nn.Conv2d and module.groups == 1
    if isinstance(module, nn.LSTM):
        return type(module) is nn.LSTM and module.proj_size == 0
    return type(module) in (nn.Linear, nn.MultiheadAttention)


@torch.no_grad()
def _factored(layer: nn.Module, ratio: float, *, warm: bool, norm: bool) -> nn.Module:
    if isinstance(layer, nn.Linear | nn.Conv2d):
        return _two_layers(layer, rank_of(layer.weight.flatten(1), ratio), warm=warm, norm=norm)
    made = LowRankLSTM(layer, ratio) if isinstance(layer, nn.LSTM) else _attention(layer, ratio)
    if not warm:
        for factor in made.parameters():
            for block in factor if factor.ndim == 3 else ():
                nn.init.xavier_uniform_(block)
    return made


@torch.no_grad()
def _sized(layer: nn.Module, given: Mapping[str, Tensor]) -> nn.Module:
    """`layer` in factors of the shapes that are `given`."""
    if isinstance(layer, nn.Linear | nn.Conv2d):
        return _two_layers(layer, len(given["u.weight"]), warm=False, norm="norm.weight" in given)
    made = _factored(layer, 1.0, warm=True, norm=False)
    for name, parameter in list(made.named_parameters()):
        module, _, own = name.rpartition(".")
        setattr(made.get_submodule(module), own, nn.Parameter(parameter.new_empty(given[name].shape)))
    return made


def _two_layers(layer: nn.Linear | nn.Conv2d, rank: int, *, warm: bool, norm: bool) -> nn.Module:
    made: nn.Module
    made = LowRankLinear(layer, rank) if isinstance(layer, nn.Linear) else LowRankConv2d(layer, rank, norm=norm)
    if warm:
        for name, factor in zip("uv", split(layer.weight.flatten(1), rank), strict=True):
            thin = made.get_parameter(f"{name}.weight")
            thin.copy_(factor.reshape(thin.shape))
    if layer.bias is not None:
        made.get_parameter("v.bias").copy_(layer.bias)
    return made


def _attention(layer: nn.Module, ratio: float) -> nn.Module:
    """Attention `layer` itself, with products in place of its weights."""
    of_inputs = {"in_proj_weight": 3, "q_proj_weight": 1, "k_proj_weight": 1, "v_proj_weight": 1}  # blocks of each
    for name, blocks in of_inputs.items():
        if getattr(layer, name) is not None:
            parametrize.register_parametrization(layer, name, Product(blocks, ratio))
    parametrize.register_parametrization(layer.get_submodule("out_proj"), "weight", Product(1, ratio))
    return layer
