"""Operators whose channels can be followed, by their plain names (`prunus.operators`)."""

from typing import Any

# fmt: off
_POINTWISE = {
    "identity", "clone", "contiguous", "dropout", "dropout1d", "dropout2d", "dropout3d", "alphadropout",
    "featurealphadropout", "relu", "relu6", "leakyrelu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish",
    "hardswish", "hardsigmoid", "hardtanh", "hardshrink", "sigmoid", "tanh", "softplus", "softsign", "softshrink",
    "logsigmoid", "tanhshrink", "threshold", "clamp", "neg", "abs", "exp", "add", "iadd", "sub", "isub", "mul", "imul",
    "truediv", "itruediv", "div",
}
_POOLING = {
    "maxpool1d", "maxpool2d", "avgpool1d", "avgpool2d",
    "adaptivemaxpool1d", "adaptivemaxpool2d", "adaptiveavgpool1d", "adaptiveavgpool2d",
}
# fmt: on

RESHAPING = {"flatten", "view", "reshape", "squeeze", "unsqueeze"}
"""The values stay as they are, in the same order."""

JOINING = {"cat", "concat", "concatenate"}
"""Channels of several tensors, one behind the other."""

CROSSING = {"softmax", "logsoftmax"}
"""A value of the result is made of all channels."""


def keeps_channels_apart(name: str, dimensions: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the operator makes each channel of the same channels of the tensors (batch, channels, ...) given.

    `name` is plain, `dimensions` are those of the first tensor, `args` and `kwargs` what the operator is called with.
    The result must have as many examples and channels as the tensors.
    """
    if name == "mean":
        dim = args[1] if len(args) > 1 else kwargs.get("dim")
        averaged = [dim] if isinstance(dim, int) else dim or [0]  # none named: all
        return all(dimension % dimensions >= 2 for dimension in averaged)
    if name == "getitem":
        return all(isinstance(part, slice) for part in (args[1] if isinstance(args[1], tuple) else [args[1]]))
    if name in _POOLING:
        return dimensions == 2 + int(name[-2])  # with fewer, the tensor has no batch to torch
    return name in _POINTWISE
