"""Which inputs the outputs of a convolution are connected to."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from prunus.errors import PrunusError
from prunus.kernel.connections import LINES, block_size, blocks_of, ordered
from prunus.kernel.windows import WIDE

Pair = tuple[int, int]


class WindowOrder(NamedTuple):
    """The kept entries of a convolution, row by row within blocks of channels within phases of the stride."""

    starts: Tensor  # (phases * blocks * rows + 1,) int64
    channels: Tensor  # (kept,) int32
    downs: Tensor  # (kept,) int32, how far below the topmost that any entry meets an entry's inputs are
    rights: Tensor  # (kept,) int32
    places: Tensor  # (kept,) int32, which of the values an entry has; empty where they are in this order


class Reach(NamedTuple):
    """Where along an axis the inputs of output pixel i are: from i * stride + first to i * stride + first + span."""

    first: int
    span: int
    stride: int


@dataclass(frozen=True)
class Window:
    """What is said of a convolution beside its weight: pairs are (down, right)."""

    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def forward(self, size: Pair) -> tuple[Reach, Reach]:
        """Along both axes, of a weight of that many entries."""
        return tuple(
            Reach(-padding, dilation * (n - 1), stride)
            for n, stride, padding, dilation in zip(size, self.stride, self.padding, self.dilation, strict=True)
        )

    def backward(self, size: Pair) -> tuple[Reach, Reach]:
        """The same of the gradient of the inputs: the pixels of a phase are a stride apart, those they meet are not."""
        return tuple(
            Reach(min(steps), max(steps) - min(steps), 1)
            for steps in (
                [phase_and_step(place * dilation - padding, stride)[1] for place in range(n)]
                for n, stride, padding, dilation in zip(size, self.stride, self.padding, self.dilation, strict=True)
            )
        )


def phase_and_step(position, stride):
    """Which of a stride's pixels entry at `position` of a window writes to, and how far from it what it reads is."""
    return position % stride, -(position // stride)


@dataclass(frozen=True)
class ConvConnections:
    """The kept entries of the weight (outputs, inputs / groups, height, width) of a convolution, as of linear layers."""

    shape: tuple[int, int, int, int]
    window: Window
    entries: Tensor  # (kept,) int64
    forward: WindowOrder
    backward: WindowOrder

    @classmethod
    def of(cls, kept: Tensor, window: Window = Window()) -> "ConvConnections":
        """The connections that a boolean `kept` leaves."""
        if kept.dtype != torch.bool or kept.ndim != 4 or kept.shape[0] % window.groups:
            raise PrunusError(
                f"kept: found {kept.dtype} {tuple(kept.shape)} in {window.groups} groups, "
                "expected booleans (outputs, inputs / groups, height, width)."
            )
        outputs, some, high, wide = kept.shape
        channels, taps = some * window.groups, high * wide
        output, channel, down, right = kept.nonzero(as_tuple=True)
        entry = output * some * taps + channel * taps + down * wide + right
        channel = channel + output // (outputs // window.groups or 1) * some
        density = len(entry) / max(1, outputs * channels)  # entries of an output and channel
        near = max(1, LINES // (high * (WIDE + wide - 1)))

        block = block_size(channels, near, density)
        order, starts = ordered(channel // block, output, (blocks_of(channels, block), outputs))
        entry, output, channel, down, right = (index[order] for index in (entry, output, channel, down, right))
        downs, rights = down * window.dilation[0], right * window.dilation[1]
        forward = WindowOrder(starts, channel.int(), downs.int(), rights.int(), order.new_empty(0).int())

        (phase_down, step_down), (phase_right, step_right) = (
            phase_and_step(places - padding, stride)
            for places, padding, stride in zip((downs, rights), window.padding, window.stride, strict=True)
        )
        phases = window.stride[0] * window.stride[1]
        block = block_size(outputs, near, density / phases)
        blocks = blocks_of(outputs, block)
        phase = phase_down * window.stride[1] + phase_right
        places, starts = ordered(phase * blocks + output // block, channel, (phases * blocks, channels))
        top, left = (reach.first for reach in window.backward((high, wide)))
        below, beside = (step_down - top)[places], (step_right - left)[places]
        backward = WindowOrder(starts, output[places].int(), below.int(), beside.int(), places.int())
        return cls((outputs, some, high, wide), window, entry, forward, backward)

    def scattered(self, values: Tensor) -> Tensor:
        """The weight with `values` at the kept entries and zeros elsewhere."""
        weight = values.new_zeros(self.shape)
        return weight.flatten().index_put((self.entries,), values).view(self.shape)
