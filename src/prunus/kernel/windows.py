"""Machine code for sparse convolutions: pixels of a row of an image are taken up to eight at a time.

A worker copies a band of an image, with the zeros around it, to where it stays in cache, and so that pixels a stride
apart are neighbours. The input of kept entry k for pixel i of a row is then line offsets[k] + i: a convolution is a
product whose inputs lie at offsets. The gradient of its inputs is such a product too: of one image for each phase of
the stride, whose pixels are a stride apart. The lines that it meets, times an input, are the gradients of values.
"""

from typing import Any

from llvmlite.binding import get_host_cpu_features

from prunus.code.compiled import compiled
from prunus.kernel.vectors import (
    LINE,
    copy_lines,
    differentiate,
    integer,
    moments,
    multiply,
    number,
    put,
    taken,
    unpacked,
)

WIDE = 8 if get_host_cpu_features().get("avx512f") else 4  # pixels at a time: as many sums as registers hold


def convolution(pointer: Any) -> Any:
    """Outputs (tiles, rows, height, width, 16) of images (tiles, channels, high, wide, 16)."""
    numbers = unpacked(pointer, 27)
    image = numbers[:11]
    (
        tiles,
        rows,
        height,
        width,
        phases_down,
        phases_right,
        band,
        memory,
        memory_size,
        outputs,
        bias,
        blocks,
        values,
        offsets,
        order,
        starts,
    ) = numbers[11:]
    channels, high, wide, stride_down, stride_right, _, _, lines, columns, inputs, bands = image
    worker = memory + taken(pointer, 1) * memory_size
    entries = (offsets, values, order)
    sums = worker + channels * lines * stride_right * columns * LINE
    down = stride_right * columns * LINE
    while True:
        task = taken(pointer, 0)
        if task >= tiles * bands:
            break
        tile, first = task // bands, task % bands * band
        _copy_band(worker, inputs + tile * channels * high * wide * LINE, first, image)
        for phase in range(phases_down * phases_right):
            y, x = phase // phases_right, phase % phases_right
            across = -(-(width - x) // phases_right)
            for j in range(first, min(first + band, -(-(height - y) // phases_down))):
                i = 0
                while i < across:
                    some = _some(across - i)
                    source = worker + (j - first) * stride_down * down + i * LINE
                    pixel = (phases_down * j + y) * width + phases_right * i + x
                    for block in range(blocks):
                        begins = starts + 8 * rows * (phase * blocks + block)
                        fresh, last = block == 0, block == blocks - 1
                        for row in range(rows):
                            start, stop = integer(begins, row), integer(begins, row + 1)
                            if start == stop and not fresh and not last:
                                continue
                            old = (sums + row * WIDE * LINE, 0, LINE)
                            place = outputs + ((tile * rows + row) * height * width + pixel) * LINE
                            out = (place, 0, phases_right * LINE) if last else old
                            bias_ = number(bias, row)
                            if some == 8:
                                multiply(1, 8, out, old, fresh, bias_, (source, 0), entries, start, stop)
                            elif some == 4:
                                multiply(1, 4, out, old, fresh, bias_, (source, 0), entries, start, stop)
                            elif some == 2:
                                multiply(1, 2, out, old, fresh, bias_, (source, 0), entries, start, stop)
                            else:
                                multiply(1, 1, out, old, fresh, bias_, (source, 0), entries, start, stop)
                    i += some


def convolution_gradients(pointer: Any) -> Any:
    """What `convolution` makes of the gradients of its outputs: those of inputs (tiles, rows, height, width, 16).

    And those of values: sums over lanes, pixels and tiles of what an entry meets times an input, a row for each part.
    """
    numbers = unpacked(pointer, 29)
    image = numbers[:11]
    (
        tiles,
        rows,
        height,
        width,
        phases_down,
        phases_right,
        band,
        memory,
        memory_size,
        outputs,
        originals,
        parts,
        sums,
        sums_size,
        bias_place,
        values,
        offsets,
        starts,
    ) = numbers[11:]
    channels, high, wide, _, _, _, _, _, columns, inputs, bands = image
    down = columns * LINE
    while True:
        part = taken(pointer, 0)
        if part >= parts:
            break
        worker = memory + part * memory_size
        own, tasks = sums + part * sums_size * 4, tiles * bands
        for task in range(tasks * part // parts, tasks * (part + 1) // parts):
            tile, number_of_band = task // bands, task % bands
            source_image, first = inputs + tile * channels * high * wide * LINE, number_of_band * band
            _copy_band(worker, source_image, first, image)
            if bias_place >= 0:
                top, bottom = high * number_of_band // bands, high * (number_of_band + 1) // bands
                for channel in range(channels):
                    place, at = source_image + (channel * high + top) * wide * LINE, bias_place + channel
                    sum_, _ = moments(place, place, 0.0, 0.0, (bottom - top) * wide)
                    put(own, at, number(own, at) + sum_)
            for phase in range(phases_down * phases_right):
                y, x = phase // phases_right, phase % phases_right
                across, until = -(-(width - x) // phases_right), min(first + band, -(-(height - y) // phases_down))
                for row in range(rows):
                    start, stop = integer(starts, phase * rows + row), integer(starts, phase * rows + row + 1)
                    for j in range(first, until):
                        i = 0
                        while i < across:
                            some = _some(across - i)
                            source = worker + (j - first) * down + i * LINE
                            pixel = (phases_down * j + y) * width + phases_right * i + x
                            place = ((tile * rows + row) * height * width + pixel) * LINE
                            out = (outputs + place, phases_right * LINE)
                            others = (originals + place, phases_right * LINE)
                            if some == 8:
                                differentiate(8, out, others, source, offsets, values, own, start, stop)
                            elif some == 4:
                                differentiate(4, out, others, source, offsets, values, own, start, stop)
                            elif some == 2:
                                differentiate(2, out, others, source, offsets, values, own, start, stop)
                            else:
                                differentiate(1, out, others, source, offsets, values, own, start, stop)
                            i += some


@compiled
def _some(left: Any) -> Any:
    """How many of the pixels left are taken together."""
    return 8 if left >= 8 == WIDE else 4 if left >= 4 else 2 if left >= 2 else 1


@compiled
def _copy_band(target: Any, source: Any, first: Any, image: Any) -> Any:
    """Write what the rows of a band from `first` on meet of an image: channels, lines, columns apart by the stride."""
    channels, high, wide, stride_down, stride_right, top, left, lines, columns, _, _ = image
    for channel in range(channels):
        for line in range(lines):
            y = first * stride_down + top + line
            for phase in range(stride_right):
                x = left + phase
                there = 0 <= y < high
                before = min(max(-(x // stride_right), 0), columns) if there else columns
                until = max(min(-((x - wide) // stride_right), columns), before)
                copy_lines(target, 0, 0, before)
                place = source + ((channel * high + y) * wide + x + before * stride_right) * LINE
                copy_lines(target + before * LINE, place, stride_right * LINE, until - before)
                copy_lines(target + until * LINE, 0, 0, columns - until)
                target += columns * LINE
