"""The product of packed lines and a batch: 16 rows are a task; a row's sum is the same in any small batch."""

from typing import Any

import torch
from torch import Tensor

from prunus.kernel.codebook_lanes import multiplied_on_lanes
from prunus.kernel.codebook_vectors import multiply_lines
from prunus.kernel.parallel import run
from prunus.kernel.vectors import LANES, LINE, integer, taken, unpacked

FEW = 4096  # lines that one thread has done before another one has woken up
MANY = 28  # samples of a batch that is not small: it is faster on lanes


def multiplied(
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
    """`inputs` (..., columns) times the packed matrix of these parts, plus `bias`: (..., outputs)."""
    inputs = inputs.contiguous()
    *sizes, columns = inputs.shape
    results = torch.empty(*sizes, outputs)
    numbers = results.numel()
    if not numbers:
        return results
    batch, blocks = numbers // outputs, rows.numel() // LANES
    if batch >= MANY:
        parts = words, starts, bounds, rows, values, bias, outputs, layout
        return multiplied_on_lanes(inputs.view(batch, columns), *parts).view(*sizes, outputs)
    workers = torch.get_num_threads() if words.numel() * batch > FEW * LANES else 1
    run(
        product,
        workers,
        layout,
        batch,
        blocks,
        max(1, blocks // (16 * workers)),
        columns,
        outputs,
        words.data_ptr(),
        starts.data_ptr(),
        bounds.data_ptr(),
        rows.data_ptr(),
        values.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        inputs.data_ptr(),
        results.data_ptr(),
    )
    return results


def product(pointer: Any) -> Any:
    """Outputs (batch, rows) of inputs (batch, columns)."""
    numbers = unpacked(pointer, 14)
    layout, batch, blocks, chunk, columns, wide, words, starts, bounds, rows, values, bias, inputs, outputs = numbers
    while True:
        first = taken(pointer, 0) * chunk
        if first >= blocks:
            break
        for block in range(first, min(first + chunk, blocks)):
            begin, end = integer(bounds, block), integer(bounds, block + 1)
            sample = 0
            while sample < batch:
                left = batch - sample
                some = 4 if left >= 4 else 2 if left >= 2 else 1
                multiply_lines(
                    layout,
                    some,
                    (words, starts, values),
                    begin,
                    end,
                    (inputs + 4 * columns * sample, 4 * columns),
                    (outputs + 4 * wide * sample, 4 * wide, bias),
                    rows + LINE * block,
                )
                sample += some
