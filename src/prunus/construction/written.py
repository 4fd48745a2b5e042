"""A random network in a line of text, for the file that its weights are in."""

import re
from collections.abc import Callable
from math import prod

from torch import nn

from prunus.construction.parts import One, Pad, RandomNetwork, Repeat
from prunus.construction.sampling import LARGEST
from prunus.errors import FormatError, PrunusError

START = "layers:"

_PART = re.compile(r"([a-z]{1,10})(?:\((\d{1,9}(?:,\d{1,9}){0,5})\))?")


def _linear(inputs: int, outputs: int) -> nn.Module:
    return nn.Linear(inputs, outputs, bias=False)


def _convolution(inputs: int, outputs: int, height: int, width: int, rows: int, columns: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, (height, width), (rows, columns), bias=False)


_PARTS: dict[str, tuple[int, Callable[..., nn.Module]]] = {  # how many numbers each needs
    "flatten": (0, nn.Flatten),
    "relu": (0, nn.ReLU),
    "one": (0, One),
    "repeat": (1, Repeat),
    "pad": (2, Pad),
    "pool": (2, lambda rows, columns: nn.MaxPool2d((rows, columns))),
    "linear": (2, _linear),
    "conv": (6, _convolution),
}


def write_parts(network: RandomNetwork) -> str:
    """The parts of `network`, as `read_parts` reads them; not its weights.

    >>> write_parts(RandomNetwork(Repeat(3), nn.Linear(6, 2, bias=False), nn.ReLU()))
    'layers: repeat(3) linear(6,2) relu'
    """
    return " ".join([START, *map(_written, network.children())])


def read_parts(text: str) -> RandomNetwork:
    """The network that `write_parts` wrote as `text`, with weights that mean nothing yet.

    Safe on text from strangers: raises `FormatError` for anything else, and for more than `LARGEST` weights before
    memory is taken.
    """
    parts, weights = [], 0
    for word in text.removeprefix(START).split():
        name, numbers = _read(word)
        weights += prod(numbers[:4]) if name in ("linear", "conv") else 0
        if weights > LARGEST:
            raise FormatError(f"a random network of more than {LARGEST:,} weights is not read.")
        parts.append((name, numbers))
    return RandomNetwork(*(_PARTS[name][1](*numbers) for name, numbers in parts))


def _read(word: str) -> tuple[str, list[int]]:
    found = _PART.fullmatch(word)
    if found and found[1] in _PARTS:
        numbers = [int(number) for number in found[2].split(",")] if found[2] else []
        if len(numbers) == _PARTS[found[1]][0] and (found[1] == "pad" or all(numbers)):
            return found[1], numbers
    raise FormatError(f"{word[:80]!r} is no part of a random network, expected like 'linear(6,2)' or 'relu'.")


def _written(part: nn.Module) -> str:
    match part:
        case nn.Flatten():
            return "flatten"
        case nn.ReLU():
            return "relu"
        case One():
            return "one"
        case Repeat():
            return f"repeat({part.times})"
        case Pad():
            return f"pad({part.rows},{part.columns})"
        case nn.MaxPool2d(kernel_size=(rows, columns)):
            return f"pool({rows},{columns})"
        case nn.Linear(bias=None):
            return f"linear({part.in_features},{part.out_features})"
        case nn.Conv2d(bias=None):
            numbers = (part.in_channels, part.out_channels, *part.kernel_size, *part.stride)
            return f"conv({','.join(map(str, numbers))})"
    raise PrunusError(f"{type(part).__name__} is no part of a random network.")
