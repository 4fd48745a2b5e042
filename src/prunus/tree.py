"""`{parameter name: tensor}`: the one shape in which weights, scores and masks travel."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from prunus.errors import PrunusError

Tree = Mapping[str, Tensor]


def parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter of `model` under its first name: a tied parameter appears once.

    Names are those of the model inside `DistributedDataParallel`, `torch.compile` or Lightning Fabric's
    wrapper, so a mask made before wrapping fits afterwards.
    """
    return dict(unwrapped(model).named_parameters())


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that compiling, data parallelism and Fabric have wrapped, however often."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
            continue
        # torch.compile and Fabric name what they wrap so
        inner = getattr(model, "_orig_mod", getattr(model, "_forward_module", None))
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The prunable parameters of `model`: floating point, two dimensions or more, each once.

    Biases and the scales of normalisation layers are one-dimensional, so they stay dense.

    >>> list(weights(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))))
    ['0.weight']
    """
    return {name: parameter for name, parameter in parameters(model).items() if _is_prunable(parameter)}


def plain_weights(model: nn.Module | Tree) -> dict[str, Tensor]:
    """What `weights` gives, without gradients; of a tree that stands for a model, all of it."""
    own: Tree = weights(model) if isinstance(model, nn.Module) else model
    return {name: weight.detach() for name, weight in own.items()}


def prunable(tree: Tree) -> dict[str, Tensor]:
    """Those tensors of `tree`, the parameters of a model, that `weights` would give."""
    return {name: tensor for name, tensor in tree.items() if _is_prunable(tensor)}


def _is_prunable(parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and parameter.is_floating_point()


def detached(tree: Tree) -> dict[str, Tensor]:
    """Copies that share nothing with `tree` and carry no gradient."""
    return {name: tensor.detach().clone() for name, tensor in tree.items()}


def zipped(first: Tree, *others: Tree) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
    """`(name, (tensor, tensor, ...))` of trees with the same names and shapes, in the first one's order.

    Raises `PrunusError` with the first three names that differ, or the first shape that does.
    """
    for other in others:
        check_names(other, first)
        for name, tensor in first.items():
            if other[name].shape != tensor.shape:
                raise PrunusError(f"{name}: shape {tuple(other[name].shape)} != {tuple(tensor.shape)}.")
    for name, tensor in first.items():
        yield name, (tensor, *(other[name] for other in others))


def check_names(found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    """Raise `PrunusError` with the first three names on each side, unless both hold the same names."""
    problems = [
        f"{label} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for label, names in (
            ("missing", [name for name in expected if name not in found]),
            ("unexpected", [name for name in found if name not in expected]),
        )
        if names
    ]
    if problems:
        raise PrunusError(f"names do not fit: {'; '.join(problems)}.")


@torch.no_grad()
def assign(model: nn.Module, tree: Tree) -> None:
    """Write `tree`'s values into the parameters of the same names, in place."""
    own = parameters(model)
    for name, value in tree.items():
        if name not in own:
            raise PrunusError(f"{name} is not a parameter of {type(model).__name__}.")
        if own[name].shape != value.shape:
            raise PrunusError(f"{name}: shape {tuple(value.shape)} != {tuple(own[name].shape)}.")
        own[name].copy_(value)
