"""Sparse convolutions on lanes."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from prunus.code.compiled import compiled
from prunus.kernel.parallel import run
from prunus.kernel.vectors import LANES, LINE
from prunus.kernel.window_connections import ConvConnections, Pair, Reach, WindowOrder
from prunus.kernel.windows import WIDE, convolution, window_gradient

MEMORY = 3 * 2**18  # bytes of a band of an image, at most where one line of pixels does not need more


class Bands(NamedTuple):
    """How a worker goes through images: see `windows`."""

    numbers: tuple[int, ...]
    band: int
    size: int  # bytes of a worker's memory
    offsets: Tensor


def convolved(inputs, values, bias, order, reaches, phases, size, rows):
    """(tiles, channels, high, wide, 16) -> (tiles, rows, *size, 16)."""
    outputs = inputs.new_empty(len(inputs), rows, *size, LANES)
    if outputs.numel():
        steps = tuple(-(-n // phase) for n, phase in zip(size, phases, strict=True))
        bands = planned(inputs, order, reaches, steps, rows)
        workers = min(torch.get_num_threads(), len(inputs) * bands.numbers[-1])
        memory = torch.empty(workers * bands.size, dtype=torch.uint8)
        run(
            convolution,
            workers,
            *bands.numbers,
            len(inputs),
            rows,
            (len(order.starts) - 1) // (rows * phases[0] * phases[1]),
            *size,
            *phases,
            bands.band,
            memory.data_ptr(),
            bands.size,
            outputs.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            values.data_ptr(),
            bands.offsets.data_ptr(),
            order.places.data_ptr() if len(order.places) else 0,
            order.starts.data_ptr(),
        )
    return outputs


def window_gradients(grad, inputs, order, reaches, biased):
    tiles, rows, height, width = grad.shape[:4]
    kept = len(order.channels)
    if not grad.numel():
        return grad.new_zeros(kept), grad.new_zeros(rows) if biased else None
    bands = planned(inputs, order, reaches, (height, width), rows)
    parts = min(torch.get_num_threads(), tiles * bands.numbers[-1])
    memory = torch.empty(parts * bands.size, dtype=torch.uint8)
    sums, bias_sums = grad.new_zeros(parts, kept), grad.new_zeros(parts, rows) if biased else None
    run(
        window_gradient,
        parts,
        *bands.numbers,
        tiles,
        rows,
        (len(order.starts) - 1) // rows,
        height,
        width,
        bands.band,
        memory.data_ptr(),
        bands.size,
        parts,
        grad.data_ptr(),
        sums.data_ptr(),
        kept,
        0 if bias_sums is None else bias_sums.data_ptr(),
        bands.offsets.data_ptr(),
        order.starts.data_ptr(),
    )
    return sums.sum(0), None if bias_sums is None else bias_sums.sum(0)


def planned(inputs: Tensor, order: WindowOrder, reaches: tuple[Reach, Reach], steps: Pair, rows: int) -> Bands:
    """Bands that fit a core's own cache, for outputs of `steps` pixels down and right."""
    down, right = reaches
    channels, high, wide = inputs.shape[1:4]
    columns = steps[1] + right.span // right.stride
    line = channels * right.stride * columns * LINE
    band = max(1, min(steps[0], (MEMORY // line - down.span - 1) // down.stride + 1))
    while len(inputs) * -(-steps[0] // band) < 2 * torch.get_num_threads() and band > 1:
        band = -(-band // 2)
    lines = (band - 1) * down.stride + down.span + 1
    offsets = torch.empty(len(order.channels), dtype=torch.int32)
    arrays = [index.numpy() for index in (order.channels, order.downs, order.rights, offsets)]
    _place(*arrays, lines, right.stride, columns)
    numbers = (channels, high, wide, down.stride, right.stride, down.first, right.first, lines, columns)
    bands = -(-steps[0] // band)
    size = lines * line + rows * WIDE * LINE
    return Bands((*numbers, inputs.data_ptr(), bands), band, size, offsets)


@compiled
def _place(channels: Any, downs: Any, rights: Any, offsets: Any, lines: Any, stride: Any, columns: Any) -> Any:
    """The lines of a band that the entries meet first, in bytes."""
    for k in range(len(offsets)):
        line = (channels[k] * lines + downs[k]) * stride + rights[k] % stride
        offsets[k] = (line * columns + rights[k] // stride) * LINE
