"""Sparse convolutions: kept entries of a window that moves over an image."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from prunus.code.compiled import compiled
from prunus.errors import PrunusError
from prunus.kernel.connections import LINES, address, block_size, blocks_of, ordered
from prunus.kernel.memory import workspace
from prunus.kernel.parallel import run
from prunus.kernel.vectors import LINE
from prunus.kernel.windows import WIDE, convolution, convolution_gradients

MEMORY = 2**20  # bytes of a band of an image, at most, where one line of pixels does not need more
MOST_PLANS = 16

Pair = tuple[int, int]  # (down, right)


class Order(NamedTuple):
    """The kept entries of a convolution, row by row within blocks of channels within phases of the stride."""

    starts: Tensor  # (phases * blocks * rows + 1,) int64
    channels: Tensor  # (kept,) int32
    downs: Tensor  # (kept,) int32, how far below the topmost that any entry may meet the inputs of an entry are
    rights: Tensor  # (kept,) int32
    places: Tensor  # (kept,) int32, which of the values an entry has; empty where they are in this order


class Reach(NamedTuple):
    """Where along an axis the inputs of output i are: from i * stride + first to i * stride + first + span."""

    first: int
    span: int
    stride: int


class Plan(NamedTuple):
    """How workers go through images of one size, as `windows` has it."""

    image: tuple[int, ...]
    bands: int
    band: int
    memory: int  # bytes of a worker
    offsets: Tensor


@dataclass(frozen=True)
class Window:
    """How a convolution moves over an image."""

    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True)
class ConvConnections:
    """The `Connections` of a convolution; see there."""

    shape: tuple[int, int, int, int]  # (outputs, inputs / groups, height, width)
    window: Window
    entries: Tensor
    forward: Order
    backward: Order
    plans: dict[Any, Plan] = field(default_factory=dict, compare=False, repr=False)  # of the sizes met last

    @classmethod
    def of(cls, kept: Tensor, window: Window = Window()) -> Self:  # it is frozen
        """The connections that a boolean `kept` (outputs, inputs / groups, height, width) leaves."""
        if kept.dtype != torch.bool or kept.ndim != 4 or kept.shape[0] % window.groups:
            raise PrunusError(
                f"kept: found {kept.dtype} {tuple(kept.shape)} for {window.groups} groups, "
                "expected booleans (outputs, inputs / groups, height, width)."
            )
        outputs, some, high, wide = kept.shape
        channels = some * window.groups
        output, channel, down, right = kept.cpu().nonzero(as_tuple=True)
        channel = channel + output // max(1, outputs // window.groups) * some
        density = len(output) / max(1, outputs * channels)  # kept entries of an output and channel
        near = max(1, LINES // (high * (WIDE + wide - 1)))  # channels that stay in cache

        block = block_size(channels, near, density)
        order, starts = ordered(channel // block, output, (blocks_of(channels, block), outputs))
        output, channel, down, right = (index[order] for index in (output, channel, down, right))
        entries = ((output * some + channel % max(1, some)) * high + down) * wide + right
        downs, rights = down * window.dilation[0], right * window.dilation[1]
        forward = Order(starts, channel.int(), downs.int(), rights.int(), order.new_empty(0).int())

        (phase_down, step_down), (phase_right, step_right) = (
            _phase_and_step(places - padding, stride)
            for places, padding, stride in zip((downs, rights), window.padding, window.stride, strict=True)
        )
        phases = window.stride[0] * window.stride[1]
        phase = phase_down * window.stride[1] + phase_right
        places, starts = ordered(phase, channel, (phases, channels))
        top, left = (reach.first for reach in _backward(window, (high, wide)))
        below, beside = (step_down - top)[places], (step_right - left)[places]
        backward = Order(starts, output[places].int(), below.int(), beside.int(), places.int())
        return cls((outputs, some, high, wide), window, entries, forward, backward)

    def taken_apart(self) -> tuple[list[Tensor], list[int]]:
        """See `Connections`."""
        window = self.window
        numbers = [*self.shape, *window.stride, *window.padding, *window.dilation, window.groups]
        return [self.entries, *self.forward, *self.backward], numbers

    @classmethod
    def put_together(cls, tensors: list[Tensor], numbers: list[int]) -> Self:
        """See `Connections`."""
        outputs, some, high, wide, *pairs, groups = numbers
        window = Window((pairs[0], pairs[1]), (pairs[2], pairs[3]), (pairs[4], pairs[5]), groups)
        return cls((outputs, some, high, wide), window, tensors[0], Order(*tensors[1:6]), Order(*tensors[6:]))

    def expected(self) -> tuple[int | None, ...]:
        """See `Connections`."""
        return (self.shape[1] * self.window.groups, None, None)

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """See `Connections`."""
        height, width = (
            (n + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
            for n, taps, stride, padding, dilation in zip(
                size[1:], self.shape[2:], self.window.stride, self.window.padding, self.window.dilation, strict=True
            )
        )
        if height < 1 or width < 1:
            raise PrunusError(f"inputs: found images of {tuple(size[1:])}, smaller than the window {self.shape[2:]}.")
        return self.shape[0], height, width

    def outputs(self, inputs: Tensor, values: Tensor, bias: Tensor | None, outputs: Tensor) -> None:
        """See `Connections`."""
        if outputs.numel():
            self._convolve(self.forward, (1, 1), outputs, inputs, values, bias)

    def input_gradients(self, gradients: Tensor, values: Tensor, outputs: Tensor) -> None:
        """See `Connections`."""
        if outputs.numel():
            self._convolve(self.backward, self.window.stride, outputs, gradients, values, None)

    def value_gradients(self, gradients: Tensor, inputs: Tensor, biased: bool) -> tuple[Tensor, Tensor | None]:
        """See `Connections`."""
        values = gradients.new_zeros(len(self.entries))
        return self.gradients(gradients, inputs, values, workspace("unwanted", *inputs.shape), biased)

    def gradients(
        self, gradients: Tensor, inputs: Tensor, values: Tensor, outputs: Tensor, biased: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `Connections`."""
        kept, channels, places = len(values), gradients.shape[1], self.backward.places
        if not outputs.numel():
            return torch.zeros_like(values), gradients.sum((0, 2, 3, 4)) if biased else None
        plan, sizes = self._work(self.backward, self.window.stride, outputs, gradients)
        parts = min(torch.get_num_threads(), len(outputs) * plan.bands)
        memory, values = workspace("bands", parts * plan.memory // 4), values[places]
        sums = values.new_zeros(parts, kept + channels * biased)  # those of values, then those of bias
        results = (outputs.data_ptr(), inputs.data_ptr(), parts, address(sums), sums.shape[1], kept if biased else -1)
        entries = (address(values), address(plan.offsets), self.backward.starts.data_ptr())
        run(convolution_gradients, parts, *sizes, memory.data_ptr(), plan.memory, *results, *entries)
        total = sums.sum(0)
        of_values = torch.empty_like(values)
        of_values[places] = total[:kept]
        return of_values, total[kept:].clone() if biased else None

    def _convolve(
        self, order: Order, phases: Pair, outputs: Tensor, inputs: Tensor, values: Tensor, bias: Tensor | None
    ) -> None:
        """(tiles, channels, high, wide, 16) -> (tiles, rows, height, width, 16)."""
        plan, sizes = self._work(order, phases, outputs, inputs)
        workers = min(torch.get_num_threads(), len(outputs) * plan.bands)
        memory = workspace("bands", workers * plan.memory // 4)
        blocks = (len(order.starts) - 1) // (outputs.shape[1] * phases[0] * phases[1])
        results = (outputs.data_ptr(), address(bias), blocks)
        entries = (address(values), address(plan.offsets), address(order.places), order.starts.data_ptr())
        run(convolution, workers, *sizes, memory.data_ptr(), plan.memory, *results, *entries)

    def _work(self, order: Order, phases: Pair, outputs: Tensor, inputs: Tensor) -> tuple[Plan, tuple[int, ...]]:
        """How workers go through `inputs`, and the sizes that `windows` is told first."""
        tiles, rows, height, width = outputs.shape[:4]
        plan = self._plan(order, inputs, (-(-height // phases[0]), -(-width // phases[1])), rows)
        return plan, (*plan.image, address(inputs), plan.bands, tiles, rows, height, width, *phases, plan.band)

    def _plan(self, order: Order, inputs: Tensor, steps: Pair, rows: int) -> Plan:
        """That for outputs of `steps` pixels down and right, with bands that fit a core's own cache."""
        size, threads = tuple(inputs.shape[:4]), torch.get_num_threads()
        key = (order is self.forward, size, steps, threads)
        if key not in self.plans:
            if len(self.plans) >= MOST_PLANS:
                self.plans.clear()
            reaches = (_forward if order is self.forward else _backward)(self.window, self.shape[2:])
            self.plans[key] = _planned(order, reaches, size, steps, rows, threads)
        return self.plans[key]

    def reference(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See `Connections`."""
        window = self.window
        return F.conv2d(inputs, weight, bias, window.stride, window.padding, window.dilation, window.groups)


def _planned(
    order: Order, reaches: tuple[Reach, Reach], size: tuple[int, ...], steps: Pair, rows: int, threads: int
) -> Plan:
    down, right = reaches
    tiles, channels, high, wide = size
    columns = steps[1] + right.span // right.stride
    line = channels * right.stride * columns * LINE
    fitting = (MEMORY // max(1, line) - down.span - 1) // down.stride + 1
    bands = min(steps[0], max(-(-steps[0] // max(1, fitting)), -(-2 * threads // tiles)))
    band = -(-steps[0] // bands)
    lines = (band - 1) * down.stride + down.span + 1
    offsets = torch.empty(len(order.channels), dtype=torch.int32)
    places = (order.channels.numpy(), order.downs.numpy(), order.rights.numpy())
    _place(places, offsets.numpy(), lines, right.stride, columns)
    image = (channels, high, wide, down.stride, right.stride, down.first, right.first, lines, columns)
    return Plan(image, -(-steps[0] // band), band, lines * line + rows * WIDE * LINE, offsets)


def _forward(window: Window, size: Pair) -> tuple[Reach, Reach]:
    """Where the inputs of an output are, of a window of `size`."""
    down, right = (
        Reach(-padding, dilation * (n - 1), stride)
        for n, stride, padding, dilation in zip(size, window.stride, window.padding, window.dilation, strict=True)
    )
    return down, right


def _backward(window: Window, size: Pair) -> tuple[Reach, Reach]:
    """Where the outputs of an input are, counted in strides for both."""
    down, right = (
        [_phase_and_step(place * dilation - padding, stride)[1] for place in range(n)]
        for n, stride, padding, dilation in zip(size, window.stride, window.padding, window.dilation, strict=True)
    )
    return Reach(min(down), max(down) - min(down), 1), Reach(min(right), max(right) - min(right), 1)


def _phase_and_step(position: Any, stride: int) -> tuple[Any, Any]:
    """Which of a stride's inputs an entry at `position` of a window meets, and how many strides before its output."""
    return position % stride, -(position // stride)


@compiled
def _place(places: Any, offsets: Any, lines: Any, stride: Any, columns: Any) -> Any:
    """The lines of a band that the entries meet first, in bytes."""
    channels, downs, rights = places
    for k in range(len(offsets)):
        line = (channels[k] * lines + downs[k]) * stride + rights[k] % stride
        offsets[k] = (line * columns + rights[k] // stride) * LINE
