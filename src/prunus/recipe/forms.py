"""One network in all the forms that zeros can take: masked, sparse, packed, and really smaller."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.nn.modules.batchnorm import BatchNorm1d, BatchNorm2d

from prunus import pack
from prunus.errors import PrunusError
from prunus.kernel.codebook_linear import CodebookLinear
from prunus.loading import load
from prunus.mask import Mask
from prunus.pattern import channel
from prunus.pruning import prune
from prunus.quantise import share
from prunus.ranking import keep_largest
from prunus.scope import count
from prunus.score import magnitude
from prunus.shrinking import shrink
from prunus.sparse import Sparsified, sparsify
from prunus.tree import Tree, assign, weights

SEARCHES = 8  # halvings of the interval in which the part of units lies that gives a density


@dataclass(frozen=True)
class Form:
    """A network in a form, the plain network that computes the same, and the size of its file."""

    network: nn.Module
    plain: nn.Module
    file_bytes: int
    density: float  # weights that are kept / those of the dense network
    sparsified: Sparsified | None = None


def dense(model: nn.Module, folder: Path) -> Form:
    """The network as it is."""
    return Form(_still(model), model, _file_bytes(model, folder), Mask.of_nonzero(model).density)


def masked(model: nn.Module, mask: Mask, folder: Path) -> Form:
    """The network with zeros."""
    network = with_zeros(model, mask)
    return Form(_still(network), network, _file_bytes(network, folder), mask.density)


def sparse(model: nn.Module, mask: Mask, example: Tensor, folder: Path) -> Form:
    """Layers of kept values alone where `sparsify` finds them faster, for inference."""
    plain = with_zeros(model, mask)
    network = _still(plain)
    found = sparsify(network, mask, example=example)
    return Form(network, plain, _file_bytes(plain, folder), mask.density, found)


def codebook(model: nn.Module, mask: Mask, levels: int, folder: Path) -> Form:
    """Kept weights that share `levels` values a tensor, written to a file and loaded as packed linear layers.

    Raises `PrunusError` where no layer is packed.
    """
    plain = with_zeros(model, mask)
    assign(plain, {name: share(weight.detach(), levels).decode() for name, weight in weights(plain).items()})
    path = folder / "network.prunus"
    size = pack.write(path, plain.state_dict()).file_bytes
    network = load(path, deepcopy(plain), as_="sparse")
    if not any(isinstance(module, CodebookLinear) for module in network.modules()):
        raise PrunusError("no linear layer is less than half as large when packed.")
    return Form(network, plain, size, mask.density)


def shrunk(model: nn.Module, density: float, example: Tensor, folder: Path) -> Form:
    """The network without whole units, as many in each layer as leave about `density` of the weights.

    Another mask than the others': of filters and units with the BatchNorm behind them, the smallest by magnitude, and
    none of the last layer's. Of networks that are no smaller than `density` the smallest, or the next smaller one.
    Raises `PrunusError` where `shrink` does.
    """
    few = example[:2]
    total = _count(model)
    low, high = 0.0, 1.0
    smaller, mask = shrink(model, units(model, low), example=few), units(model, low)
    for _ in range(SEARCHES if _count(smaller) < density * total else 0):
        middle = (low + high) / 2
        tried = shrink(model, units(model, middle), example=few)
        if _count(tried) <= density * total:
            low, smaller, mask = middle, tried, units(model, middle)
        else:
            high = middle
    if _count(smaller) == total:
        raise PrunusError(f"no unit of {type(model).__name__} can be taken out.")
    plain = with_zeros(model, mask)
    return Form(_still(smaller), plain, _file_bytes(smaller, folder), _count(smaller) / total)


def units(model: nn.Module, part: float) -> Mask:
    """The mask of `part` of the units of each layer but the last, at least one, with their biases and BatchNorm.

    A BatchNorm is taken to be behind the layer that is in front of it in the order of modules: were it not, the mask
    would be another, and what is computed with it still the same in all forms.

    >>> mask = units(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), 0.5)
    >>> {name: int(kept.sum()) for name, kept in mask.items()}
    {'0.weight': 4, '0.bias': 2, '1.weight': 2, '1.bias': 2}
    """
    tree = {name: weight.detach() for name, weight in list(weights(model).items())[:-1]}
    if not tree:
        return Mask({})
    kept = dict(prune(tree, magnitude, max(part, 1e-9), pattern=channel(0), scope=_at_least_one))
    before = ""
    for path, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        name = f"{path}.weight".removeprefix(".")
        if isinstance(module, BatchNorm1d | BatchNorm2d):
            rows = kept[before].flatten(1).any(1) if before else None
            if rows is None or len(rows) != module.num_features:
                continue
        elif name in kept:
            rows, before = kept[name].flatten(1).any(1), name
        else:
            before = "" if own else before
            continue
        for role, parameter in own.items():
            if parameter.shape == rows.shape:
                kept[f"{path}.{role}".removeprefix(".")] = rows
    return Mask(kept)


def with_zeros(model: nn.Module, mask: Mask) -> nn.Module:
    """A copy of `model` with the mask applied."""
    network = deepcopy(model)
    mask.apply_to(network)
    return network


def held_bytes(network: nn.Module) -> int:
    """Bytes of all tensors that a network keeps, what its sparse layers know of their masks included."""
    todo: list[object] = [network]
    seen: set[int] = set()
    storages: dict[int, int] = {}
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            storages[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        elif isinstance(one, Mapping):
            todo += one.values()
        elif isinstance(one, tuple | list):
            todo += one
        elif isinstance(one, nn.Module) or type(one).__module__.startswith("prunus."):
            todo += vars(one).values() if hasattr(one, "__dict__") else ()
    return sum(storages.values())


def _at_least_one(scores: Tree, part: float) -> dict[str, Tensor]:
    return {name: keep_largest([score], max(1, count(part, score.numel())))[0] for name, score in scores.items()}


def _still(model: nn.Module) -> nn.Module:
    return deepcopy(model).requires_grad_(False).eval()


def _count(model: nn.Module) -> int:
    return sum(weight.numel() for weight in weights(model).values())


def _file_bytes(model: nn.Module, folder: Path) -> int:
    return pack.write(folder / "network.prunus", model.state_dict()).file_bytes
