"""Batches as lanes, (batch, ...) as (ceil(batch / 16), ..., 16): the layout of layers that follow each other."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunus.kernel.memory import empty, workspace
from prunus.kernel.parallel import run, task_of
from prunus.kernel.vectors import LANES, LINE, number, put, transpose, unpacked

FEATURES = 256  # that a worker takes at a time, at least
SMALL = 2**14  # numbers that are not worth a second worker


def into_lanes(inputs: Tensor, purpose: str | None = None) -> Tensor:
    """(batch, ...) float32 as (ceil(batch / 16), ..., 16), with zeros where the batch ends within a tile.

    In the `workspace` for a `purpose`, or memory of its own.
    """
    size = (-(-len(inputs) // LANES), *inputs.shape[1:], LANES)
    lanes = empty(*size) if purpose is None else workspace(purpose, *size)
    _convert(inputs.contiguous(), lanes, 1)
    return lanes


def out_of_lanes(lanes: Tensor, batch: int) -> Tensor:
    """The `batch` (batch, ...) that `into_lanes` took."""
    outputs = empty(batch, *lanes.shape[1:-1])
    _convert(outputs, lanes.contiguous(), 0)
    return outputs


def _convert(rows: Tensor, lanes: Tensor, into: int) -> None:
    if lanes.numel():
        workers = torch.get_num_threads() if lanes.numel() > SMALL else 1
        tiles = len(lanes)
        features = lanes.numel() // (tiles * LANES)
        chunk = max(FEATURES, features // -(-2 * workers // tiles))
        run(_turn, workers, into, len(rows), features, chunk, rows.data_ptr(), lanes.data_ptr())


def _turn(pointer: Any) -> Any:
    """Rows (batch, features) into lanes (tiles, features, 16), or out of them."""
    into, batch, features, chunk, rows, lanes = unpacked(pointer, 6)
    chunks = -(-features // chunk)
    tasks = chunks * -(-batch // LANES)
    while True:
        task = task_of(pointer, tasks)
        if task == tasks:
            break
        tile, first = task // chunks, task % chunks * chunk
        height = batch - tile * LANES
        matrix, lines = rows + tile * LANES * features * 4, lanes + tile * features * LINE
        last = min(first + chunk, features)
        if features < LANES:
            for row in range(LANES):
                for feature in range(first, last):
                    if into:
                        value = number(matrix, row * features + feature) if row < height else np.float32(0)
                        put(lines, feature * LANES + row, value)
                    elif row < height:
                        put(matrix, row * features + feature, number(lines, feature * LANES + row))
        else:
            for start in range(first, last, LANES):
                feature = min(start, features - LANES)  # the last ones again, where fewer than 16 are left
                some, line = matrix + feature * 4, lines + feature * LINE
                if into:
                    transpose(line, LINE, LANES, some, features * 4, height)
                else:
                    transpose(some, features * 4, height, line, LINE, LANES)
