"""Sparse linear layers on lanes."""

import torch
from torch import Tensor

from prunus.kernel.connections import LinearConnections, Order
from prunus.kernel.parallel import run
from prunus.kernel.products import gradient, product
from prunus.kernel.vectors import LANES


def multiplied(inputs: Tensor, values: Tensor, bias: Tensor | None, order: Order, rows: int) -> Tensor:
    """(tiles, columns, 16) -> (tiles, rows, 16)."""
    tiles, columns = inputs.shape[:2]
    outputs = inputs.new_empty(tiles, rows, LANES)
    if outputs.numel():
        threads = torch.get_num_threads()
        chunk = max(32, -(-rows // (2 * threads)))
        starts, offsets, places = order
        run(
            product,
            threads,
            tiles,
            rows,
            columns,
            (len(starts) - 1) // rows,
            chunk,
            outputs.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            inputs.data_ptr(),
            offsets.data_ptr(),
            values.data_ptr(),
            places.data_ptr() if len(places) else 0,
            starts.data_ptr(),
        )
    return outputs


def gradients(grad: Tensor, inputs: Tensor, order: Order, biased: bool) -> tuple[Tensor, Tensor | None]:
    tiles, rows = grad.shape[:2]
    sums = grad.new_zeros(len(order.offsets))
    bias_sums = grad.new_zeros(rows) if biased else None
    if grad.numel():
        threads = torch.get_num_threads()
        run(
            gradient,
            threads,
            tiles,
            rows,
            inputs.shape[1],
            (len(order.starts) - 1) // rows,
            max(32, -(-rows // (2 * threads))),
            grad.data_ptr(),
            sums.data_ptr(),
            0 if bias_sums is None else bias_sums.data_ptr(),
            inputs.data_ptr(),
            order.offsets.data_ptr(),
            order.starts.data_ptr(),
        )
    return sums, bias_sums
