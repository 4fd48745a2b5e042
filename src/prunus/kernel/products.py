"""Machine code for sparse matrices times batches: a tile is 16 rows of a batch, and four are taken at a time."""

from typing import Any

import numpy as np

from prunus.code.compiled import compiled
from prunus.kernel.parallel import task_of
from prunus.kernel.vectors import LINE, correlate, integer, multiply, number, put, total, unpacked

GROUP = 4  # tiles at a time, at most


def product(pointer: Any) -> Any:
    """Outputs (tiles, rows, 16) of inputs (tiles, columns, 16)."""
    tiles, rows, columns, blocks, chunk, outputs, bias, inputs, offsets, values, order, starts = unpacked(pointer, 12)
    chunks = -(-rows // chunk)
    tasks = chunks * (tiles // GROUP + (tiles % GROUP + 1) // 2)
    down, out_down = columns * LINE, rows * LINE
    while True:
        task = task_of(pointer, tasks)
        if task == tasks:
            break
        tile, high = _group(task // chunks, tiles)
        from_row = task % chunks * chunk
        source, target = inputs + tile * down, outputs + tile * out_down
        for block in range(blocks):
            begins = starts + 8 * rows * block
            for row in range(from_row, min(from_row + chunk, rows)):
                start, stop = integer(begins, row), integer(begins, row + 1)
                if start == stop and block > 0:
                    continue
                place, fresh, first = (target + row * LINE, out_down, 0), block == 0, number(bias, row)
                if high == 4:
                    multiply(4, 1, place, place, fresh, first, (source, down), (offsets, values, order), start, stop)
                elif high == 2:
                    multiply(2, 1, place, place, fresh, first, (source, down), (offsets, values, order), start, stop)
                else:
                    multiply(1, 1, place, place, fresh, first, (source, down), (offsets, values, order), start, stop)


def gradient(pointer: Any) -> Any:
    """Sums over lanes and tiles of gradients (tiles, rows, 16) times inputs (tiles, columns, 16), at kept entries."""
    tiles, rows, columns, blocks, chunk, gradients, sums, bias_sums, inputs, offsets, starts = unpacked(pointer, 11)
    tasks = -(-rows // chunk)
    down, gradients_down = columns * LINE, rows * LINE
    while True:
        task = task_of(pointer, tasks)
        if task == tasks:
            break
        first, last = task * chunk, min(task * chunk + chunk, rows)
        for block in range(blocks):
            begins = starts + 8 * rows * block
            for k in range(integer(begins, first), integer(begins, last)):
                put(sums, k, np.float32(0))
        tile = 0
        while tile < tiles:
            high = 4 if tiles - tile >= 4 else 2 if tiles - tile >= 2 else 1
            source, target = inputs + tile * down, gradients + tile * gradients_down
            for block in range(blocks):
                begins = starts + 8 * rows * block
                for row in range(first, last):
                    start, stop = integer(begins, row), integer(begins, row + 1)
                    line = (target + row * LINE, gradients_down, 0)
                    if high == 4:
                        correlate(4, 1, line, (source, down), offsets, sums, start, stop)
                    elif high == 2:
                        correlate(2, 1, line, (source, down), offsets, sums, start, stop)
                    else:
                        correlate(1, 1, line, (source, down), offsets, sums, start, stop)
            tile += high
        if bias_sums:
            for row in range(first, last):
                put(bias_sums, row, total(gradients + row * LINE, gradients_down, tiles))


@compiled
def _group(group: Any, tiles: Any) -> Any:
    """The first tile of a group, and how many it has: fours first, then two and one; none after the last."""
    fours = tiles // GROUP
    if group < fours:
        return GROUP * group, GROUP
    left, tile = group - fours, GROUP * fours
    if tiles & 2:
        if left == 0:
            return tile, 2
        left, tile = left - 1, tile + 2
    if tiles & 1 and left == 0:
        return tile, 1
    return tile, 0
