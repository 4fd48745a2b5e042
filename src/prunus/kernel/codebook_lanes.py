"""The product of packed lines and a large batch: unpacked 16 lines at a time, in the nearest cache, for 64 samples."""

from typing import Any

import torch
from torch import Tensor

from prunus.kernel.codebook_layout import LAYOUTS
from prunus.kernel.codebook_vectors import COUNTS, row_at, unpack_lines
from prunus.kernel.lanes import into_lanes, out_of_lanes
from prunus.kernel.memory import workspace
from prunus.kernel.parallel import run
from prunus.kernel.products import GROUP
from prunus.kernel.vectors import LANES, LINE, integer, multiply, number, taken, transpose, unpacked

BLOCKS = 32  # of 16 rows that meet the same inputs while these are near, at most


def multiplied_on_lanes(
    inputs: Tensor,
    words: Tensor,
    starts: Tensor,
    bounds: Tensor,
    rows: Tensor,
    values: Tensor,
    bias: Tensor | None,
    outputs: int,
    layout: int,
) -> Tensor:
    """`inputs` (batch, columns) times the packed matrix of these parts, plus `bias`: (batch, outputs)."""
    lanes = into_lanes(inputs, "inputs")
    results = workspace("outputs", len(lanes), outputs, LANES)
    workers, blocks = torch.get_num_threads(), len(rows) // LANES
    tasks = 4 * workers // -(-len(lanes) // GROUP)  # of a group of tiles
    size = LANES * LINE + COUNTS + 2 * LANES * LAYOUTS[layout].slots * LINE
    memory = workspace("unpacked", workers * size // 4)
    run(
        product,
        workers,
        layout,
        LAYOUTS[layout].slots,
        len(lanes),
        blocks,
        min(BLOCKS, -(-blocks // max(1, tasks))),
        lanes.shape[1],
        outputs,
        words.data_ptr(),
        starts.data_ptr(),
        bounds.data_ptr(),
        rows.data_ptr(),
        values.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        lanes.data_ptr(),
        results.data_ptr(),
        memory.data_ptr(),
        size,
    )
    return out_of_lanes(results, len(inputs))


def product(pointer: Any) -> Any:
    """Outputs (tiles, rows, 16) of inputs (tiles, columns, 16)."""
    numbers = unpacked(pointer, 17)
    layout, slots, tiles, blocks, chunk, columns, wide, words, starts, bounds, rows, values, bias = numbers[:13]
    inputs, outputs, memory, memory_size = numbers[13:]
    turned = memory + taken(pointer, 1) * memory_size
    counts = turned + LANES * LINE
    offsets = counts + COUNTS
    held = offsets + LANES * slots * LINE
    chunks, down, out_down = -(-blocks // chunk), columns * LINE, wide * LINE
    while True:
        task = taken(pointer, 0)
        from_tile, first = task // chunks * GROUP, task % chunks * chunk
        if from_tile >= tiles:
            break
        to_tile, last = min(from_tile + GROUP, tiles), min(first + chunk, blocks)
        longest = 1
        for block in range(first, last):
            longest = max(longest, integer(bounds, block + 1) - integer(bounds, block))
        for step in range(0, longest, LANES):
            for block in range(first, last):
                begin, end = integer(bounds, block) + step, integer(bounds, block + 1)
                if begin >= end and step > 0:
                    continue
                some = max(0, min(end - begin, LANES))
                transpose(turned, LINE, LANES, words + begin * LINE, LINE, some)
                unpack_lines(layout, (starts, values), begin, some, turned, counts)
                tile = from_tile
                while tile < to_tile:
                    high = 4 if to_tile - tile == 4 else 2 if to_tile - tile >= 2 else 1
                    source, target = inputs + tile * down, outputs + tile * out_down
                    for lane in range(LANES):
                        row, count = row_at(rows, LANES * block + lane), integer(counts, lane)
                        if row < 0 or (count == 0 and step > 0):
                            continue
                        begin, place = lane * slots * LANES, (target + row * LINE, out_down, 0)
                        end, fresh, bias_ = begin + count, step == 0, number(bias, row)
                        if high == 4:
                            multiply(4, 1, place, place, fresh, bias_, (source, down), (offsets, held, 0), begin, end)
                        elif high == 2:
                            multiply(2, 1, place, place, fresh, bias_, (source, down), (offsets, held, 0), begin, end)
                        else:
                            multiply(1, 1, place, place, fresh, bias_, (source, down), (offsets, held, 0), begin, end)
                    tile += high
