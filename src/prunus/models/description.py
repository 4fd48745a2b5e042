"""A built-in network in a few letters: its name, its input shape, its number of classes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import nn

from prunus.construction.parts import RandomNetwork
from prunus.construction.written import START, read_parts, write_parts
from prunus.errors import FormatError, PrunusError, unknown
from prunus.models.conv import Conv
from prunus.models.fully_connected import FullyConnected500
from prunus.models.lenet import LeNet5, lenet_300_100
from prunus.models.resnet import ResNet
from prunus.models.vgg import VGG

_GREY, _COLOUR = (1, 28, 28), (3, 32, 32)


@dataclass(frozen=True)
class _Network:
    """How to make one: `network(channels, height, width, classes)`, what it was published for, the least
    side."""

    network: Callable[[int, int, int, int], nn.Module]
    input_shape: tuple[int, int, int]
    least: int


_NETWORKS = {
    "lenet-300-100": _Network(lenet_300_100, _GREY, 1),
    "lenet-5": _Network(LeNet5, _GREY, 4),
    "fc-500": _Network(FullyConnected500, _GREY, 1),
    **{f"conv-{depth}": _Network(partial(Conv, depth), _COLOUR, 2 ** (depth // 2)) for depth in (2, 4, 6, 8)},
    **{f"resnet-{depth}": _Network(partial(ResNet, depth), _COLOUR, 1) for depth in (20, 32, 44, 56)},
    **{f"vgg-{depth}": _Network(partial(VGG, depth), _COLOUR, 16) for depth in (16, 19)},
}
BUILT_IN = tuple(_NETWORKS)
LARGEST = 1 << 28  # parameters: four times the largest built-in network on small images, 1 GiB in fp32

_WRITTEN = re.compile(r"([a-z0-9-]{1,40})(?:\((\d{1,5})x(\d{1,5})x(\d{1,5}),(\d{1,5})\))?")


@dataclass(frozen=True)
class Description:
    """Enough to make a built-in network again; `str` and `parse` are inverses.

    >>> str(Description("lenet-300-100", (1, 8, 8), 10))
    'lenet-300-100(1x8x8,10)'
    >>> Description.parse("lenet-5")
    Description(name='lenet-5', input_shape=(1, 28, 28), classes=10)
    """

    name: str
    input_shape: tuple[int, int, int]  # channels, height, width
    classes: int

    @classmethod
    def published(cls, name: str) -> Self:
        """The network called `name` as published: for MNIST or CIFAR-10, 10 classes."""
        if name not in _NETWORKS:
            raise unknown("model", name, _NETWORKS)
        return cls(name, _NETWORKS[name].input_shape, 10)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 'name' or 'name(CxHxW,classes)'; raises `FormatError` for anything else."""
        found = _WRITTEN.fullmatch(text)
        if not found or found[1] not in _NETWORKS:
            raise FormatError(f"{text[:80]!r} is no built-in network, expected like 'lenet-5(1x28x28,10)'.")
        if found[2] is None:
            return cls.published(found[1])
        channels, height, width, classes = (int(number) for number in found.groups()[1:])
        return cls(found[1], (channels, height, width), classes)

    def __str__(self) -> str:
        channels, height, width = self.input_shape
        return f"{self.name}({channels}x{height}x{width},{self.classes})"

    def make(self) -> nn.Module:
        """The network, its start drawn from torch's own generator; filters lie channels-last, which is faster.

        Raises `PrunusError` for images that are too small for it, and for more than `LARGEST` parameters,
        before memory is taken.
        """
        kind = _NETWORKS[self.name]
        channels, height, width = self.input_shape
        if min(height, width) < kind.least or min(channels, self.classes) < 1:
            raise PrunusError(
                f"model '{self.name}' needs images of at least 1x{kind.least}x{kind.least} and a class, "
                f"found {channels}x{height}x{width} and {self.classes} classes."
            )
        with torch.device("meta"):
            size = sum(p.numel() for p in kind.network(channels, height, width, self.classes).parameters())
        if size > LARGEST:
            raise PrunusError(f"model '{self}' would have {size:,} parameters, more than {LARGEST:,}.")
        model = kind.network(channels, height, width, self.classes)
        model.description = self  # type: ignore[assignment]
        return model.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]  # not in its stub


def describe(model: nn.Module) -> str | None:
    """How to make `model` again, as `from_description` reads it; None for a network that is neither a built-in nor a
    random one (`prunus.construction`).

    It speaks of the network as built: weights may have changed since, shapes must not.
    """
    if isinstance(model, RandomNetwork):
        return write_parts(model)
    description = getattr(model, "description", None)
    return str(description) if isinstance(description, Description) else None


def from_description(text: str) -> nn.Module:
    """The network that `describe` wrote as `text`, with weights that mean nothing yet.

    Safe on text from strangers: it can name our own parts only, of a bounded size. Raises `FormatError`
    for other text and `PrunusError` for impossible sizes.

    >>> sum(weights.numel() for weights in from_description("fc-500(1x8x8,10)").parameters())
    37000
    """
    with torch.random.fork_rng(devices=[]):
        return read_parts(text) if text.startswith(START) else Description.parse(text).make()
