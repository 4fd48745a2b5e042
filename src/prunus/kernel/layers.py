"""Sparse layers as functions: differentiable, and seen through by torch.compile and torch.export.

A function takes a batch and returns one, as in `torch.nn.functional`; on lanes it leaves out turning to lanes and
back, which layers that follow each other save: `from_lanes(linear_on_lanes(relu(linear_on_lanes(to_lanes(...`.
Functions of single numbers, as relu, may stand between; where a batch ends within a tile its last lanes hold numbers
of no meaning, which no gradient reaches while they are finite. Kernels are for float32 on a CPU; all else goes through
the dense weight.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prunus.errors import PrunusError
from prunus.kernel import operators
from prunus.kernel.connections import Connections
from prunus.kernel.convolutions import ConvConnections
from prunus.kernel.lanes import into_lanes
from prunus.kernel.matrices import LinearConnections
from prunus.kernel.vectors import LANES


def to_lanes(inputs: Tensor) -> Tensor:
    """(batch, ...) as lanes (ceil(batch / 16), ..., 16), with zeros where the batch ends within a tile.

    >>> to_lanes(torch.ones(20, 3)).shape
    torch.Size([2, 3, 16])
    """
    if _has_kernels(inputs):
        return cast(Tensor, operators.to_lanes(inputs))
    missing = -len(inputs) % LANES
    padded = torch.cat([inputs, inputs.new_zeros(missing, *inputs.shape[1:])])
    return padded.view(-1, LANES, *inputs.shape[1:]).movedim(1, -1)


def from_lanes(lanes: Tensor, batch: int) -> Tensor:
    """The batch (batch, ...) that `to_lanes` took, or what layers on lanes made of it."""
    if len(lanes) != -(-batch // LANES) or lanes.shape[-1] != LANES:
        raise PrunusError(f"lanes: found {tuple(lanes.shape)}, expected ({-(-batch // LANES)}, ..., {LANES}).")
    if _has_kernels(lanes):
        return cast(Tensor, operators.from_lanes(lanes, batch))
    return lanes.movedim(-1, 1).flatten(0, 1)[:batch]


def linear(inputs: Tensor, values: Tensor, bias: Tensor | None, connections: LinearConnections) -> Tensor:
    """`torch.nn.functional.linear` (..., inputs) -> (..., outputs), with `values` (kept,) for the weight's entries.

    >>> connections = LinearConnections.of(torch.tensor([[True, False], [True, True]]))
    >>> linear(torch.tensor([[1.0, 10.0]]), torch.tensor([2.0, 3.0, 4.0]), None, connections)
    tensor([[ 2., 43.]])
    """
    if inputs.ndim == 2:
        return _layer(inputs, values, bias, connections, False)
    outputs = _layer(inputs.reshape(-1, inputs.shape[-1]), values, bias, connections, False)
    return outputs.view(*inputs.shape[:-1], connections.shape[0])


def conv2d(inputs: Tensor, values: Tensor, bias: Tensor | None, connections: ConvConnections) -> Tensor:
    """`torch.nn.functional.conv2d` (batch, channels, height, width), with `values` (kept,) for the weight's entries."""
    return _layer(inputs, values, bias, connections, False)


def linear_on_lanes(inputs: Tensor, values: Tensor, bias: Tensor | None, connections: LinearConnections) -> Tensor:
    """`linear` (tiles, inputs, 16) -> (tiles, outputs, 16)."""
    return _layer(inputs, values, bias, connections, True)


def conv2d_on_lanes(inputs: Tensor, values: Tensor, bias: Tensor | None, connections: ConvConnections) -> Tensor:
    """`conv2d` (tiles, channels, height, width, 16) -> (tiles, outputs, height, width, 16)."""
    return _layer(inputs, values, bias, connections, True)


def gathered(weight: Tensor, connections: Connections) -> Tensor:
    """The `values` of a dense weight: its kept entries."""
    return weight.flatten()[connections.entries.to(weight.device)]


def scattered(values: Tensor, connections: Connections) -> Tensor:
    """The dense weight: `values` at the kept entries, zeros elsewhere."""
    weight = values.new_zeros(connections.shape)
    return weight.flatten().index_put((connections.entries.to(values.device),), values).view(connections.shape)


def _layer(inputs: Tensor, values: Tensor, bias: Tensor | None, connections: Connections, on_lanes: bool) -> Tensor:
    _check(inputs, values, bias, connections, on_lanes)
    if not _has_kernels(inputs):
        return _reference(inputs, values, bias, connections, on_lanes)
    if torch.compiler.is_compiling():
        operator = operators.linear if isinstance(connections, LinearConnections) else operators.conv2d
        return operator(inputs, values, bias, *connections.taken_apart(), on_lanes)
    return _Layer.apply(inputs, values, bias, connections, on_lanes)  # type: ignore[no-any-return, no-untyped-call]


class _Layer(torch.autograd.Function):
    """The operators without their cost, which is that of a small layer: for eager code."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, values: Tensor, bias: Tensor | None, connections: Connections, on_lanes: bool
    ) -> Tensor:
        lanes = inputs.contiguous() if on_lanes else into_lanes(inputs)
        ctx.save_for_backward(lanes, values)
        ctx.connections, ctx.batch = connections, None if on_lanes else len(inputs)
        return operators.layer_outputs(connections, lanes, values, bias, ctx.batch)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Any, ...]:
        lanes, values = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        found = operators.layer_gradients(ctx.connections, gradients, lanes, values, ctx.batch, wanted)
        of_inputs, of_values, of_bias = found
        return of_inputs, of_values if wanted[1] else None, of_bias, None, None


def _reference(inputs: Tensor, values: Tensor, bias: Tensor | None, connections: Connections, on_lanes: bool) -> Tensor:
    """What the kernels compute, by PyTorch on the dense weight."""
    batch = inputs.movedim(-1, 1).flatten(0, 1) if on_lanes else inputs
    outputs = connections.reference(batch, scattered(values, connections), bias)
    return outputs.unflatten(0, (-1, LANES)).movedim(1, -1) if on_lanes else outputs


def _has_kernels(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"


def _check(inputs: Tensor, values: Tensor, bias: Tensor | None, connections: Connections, on_lanes: bool) -> None:
    sizes = (None, *connections.expected(), *(LANES,) * on_lanes)
    if inputs.ndim != len(sizes) or any(
        n is not None and n != size for n, size in zip(sizes, inputs.shape, strict=True)
    ):
        expected = ", ".join("any" if n is None else str(n) for n in sizes[1:])
        expected = f"({'tiles' if on_lanes else 'batch'}, {expected})"
        raise PrunusError(f"inputs: found {tuple(inputs.shape)}, expected {expected}.")
    if values.shape != connections.entries.shape or (bias is not None and len(bias) != connections.shape[0]):
        raise PrunusError(
            f"values and bias: found {tuple(values.shape)} and {None if bias is None else tuple(bias.shape)}, "
            f"expected {tuple(connections.entries.shape)} and ({connections.shape[0]},) or none."
        )
    for name, tensor in (("values", values), ("bias", bias)):
        if tensor is not None and (tensor.dtype, tensor.device) != (inputs.dtype, inputs.device):
            raise PrunusError(
                f"{name}: found {tensor.dtype} on {tensor.device}, and inputs of {inputs.dtype} on {inputs.device}."
            )
