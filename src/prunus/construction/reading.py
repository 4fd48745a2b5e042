"""A target taken apart: the chain of layers, ReLUs, poolings and flattenings that it is, or why it is none."""

from typing import Any

from torch import fx, nn

from prunus.errors import PrunusError
from prunus.operators import operator_name, plain_name
from prunus.tree import unwrapped


def read_chain(target: nn.Module) -> list[nn.Module]:
    """The modules that `target` runs in evaluation mode, one after the other; its Linear and Conv2d are its own.

    All others are new ReLU, Flatten and MaxPool2d modules, whether the target calls modules or functions. Raises
    `PrunusError` with the name of the first operator that is something else.
    """
    target = unwrapped(target)
    try:
        graph = fx.symbolic_trace(target).graph
    except Exception as error:  # whatever the network's own code raises when it is given no tensor but a stand-in
        reason = str(error).partition("\n")[0].rstrip(".")
        raise PrunusError(f"{type(target).__name__} is no chain of layers: it cannot be traced ({reason}).") from error
    chain: list[nn.Module] = []
    previous: fx.Node | None = None
    for node in graph.nodes:
        if previous is None:
            previous = node
            continue
        if node.all_input_nodes != [previous]:
            raise _refusal(node, target, "does not read the one before it alone, and no chain has branches")
        previous = node
        if node.op != "output":
            chain += _part(node, target)
    if not any(isinstance(part, nn.Linear | nn.Conv2d) for part in chain):
        raise PrunusError(f"{type(target).__name__} has no layer with weights, so there is nothing to approximate.")
    return chain


def _part(node: fx.Node, target: nn.Module) -> list[nn.Module]:
    module = target.get_submodule(str(node.target)) if node.op == "call_module" else None
    plain = plain_name(operator_name(node, target))
    args, kwargs = list(node.args[1:]), dict(node.kwargs)
    if type(module) is nn.Linear:
        return [module]
    if type(module) is nn.Conv2d:
        return [_checked(module, node, target)]
    if plain == "relu":
        return [nn.ReLU()]
    if type(module) is nn.Flatten:
        args, kwargs = [module.start_dim, module.end_dim], {}
    if plain == "flatten":
        start, end = _values(args, kwargs, start_dim=0, end_dim=-1)
        if (start, end) != (1, -1):
            raise _refusal(node, target, f"flattens dimensions {start} to {end}, expected 1 to -1")
        return [nn.Flatten()]
    if type(module) is nn.MaxPool2d:
        kwargs = {name: getattr(module, name) for name in ("kernel_size", "stride", "padding", "dilation", "ceil_mode")}
    if "maxpool2d" in plain:
        return [_pooling(node, target, args, kwargs)]
    if plain in ("dropout", "dropout2d", "identity"):
        return []
    raise _refusal(node, target, "is not among Linear, Conv2d, ReLU, MaxPool2d and Flatten")


def _checked(layer: nn.Conv2d, node: fx.Node, target: nn.Module) -> nn.Conv2d:
    if layer.groups != 1 or layer.dilation != (1, 1) or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise _refusal(node, target, f"is {layer}, expected one group, no dilation, and zero padding in numbers")
    return layer


def _pooling(node: fx.Node, target: nn.Module, args: list[Any], kwargs: dict[str, Any]) -> nn.MaxPool2d:
    size, stride, padding, dilation, ceil = _values(
        args, kwargs, kernel_size=None, stride=None, padding=0, dilation=1, ceil_mode=False
    )
    if _pair(stride or size) != _pair(size) or _pair(padding) != (0, 0) or _pair(dilation) != (1, 1) or ceil:
        raise _refusal(node, target, "has windows that overlap, are padded or leave gaps, expected none of these")
    return nn.MaxPool2d(_pair(size))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _values(args: list[Any], kwargs: dict[str, Any], **defaults: Any) -> list[Any]:
    """What a call gives for these parameters, in order."""
    given = dict(zip(defaults, args, strict=False)) | kwargs
    return [given.get(name, default) for name, default in defaults.items()]


def _refusal(node: fx.Node, target: nn.Module, reason: str) -> PrunusError:
    what = type(target.get_submodule(str(node.target))).__name__ if node.op == "call_module" else node.name
    place = f" at '{node.target}'" if node.op == "call_module" else ""
    return PrunusError(f"{type(target).__name__} cannot be approximated: {what}{place} {reason}.")
