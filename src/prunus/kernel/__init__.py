"""Sparse layers whose pruned entries cost no time on a CPU: kernels that LLVM makes for the machine they run on."""

from prunus.kernel.convolutions import ConvConnections, Window
from prunus.kernel.layers import (
    Layer,
    conv2d,
    conv2d_on_lanes,
    from_lanes,
    gathered,
    has_few_rows,
    linear,
    linear_on_lanes,
    scattered,
    stack,
    stack_of_batches,
    to_lanes,
)
from prunus.kernel.matrices import LinearConnections
from prunus.kernel.normalisation import batch_norm_on_lanes

__all__ = [
    "ConvConnections",
    "Layer",
    "LinearConnections",
    "Window",
    "batch_norm_on_lanes",
    "conv2d",
    "conv2d_on_lanes",
    "from_lanes",
    "gathered",
    "has_few_rows",
    "linear",
    "linear_on_lanes",
    "scattered",
    "stack",
    "stack_of_batches",
    "to_lanes",
]
