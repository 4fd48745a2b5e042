"""Batches as lanes: (batch, ...) as tiles (ceil(batch / 16), ..., 16), the layout in which sparse layers follow each other."""

import torch
from torch import Tensor

from prunus.kernel.parallel import run
from prunus.kernel.products import convert
from prunus.kernel.vectors import LANES


def into_lanes(inputs: Tensor) -> Tensor:
    lanes = inputs.new_empty(-(-len(inputs) // LANES), *inputs.shape[1:], LANES)
    _convert(inputs.contiguous(), lanes, 1)
    return lanes


def out_of_lanes(lanes: Tensor, batch: int) -> Tensor:
    outputs = lanes.new_empty(batch, *lanes.shape[1:-1])
    _convert(outputs, lanes.contiguous(), 0)
    return outputs


def _convert(rows: Tensor, lanes: Tensor, into: int) -> None:
    if lanes.numel():
        features = lanes[0].numel() // LANES
        workers = torch.get_num_threads() if lanes.numel() > 2**14 else 1
        run(convert, workers, into, len(rows), features, 512, rows.data_ptr(), lanes.data_ptr())
