"""Sparse layers as functions: differentiable, and seen through by torch.compile and torch.export.

A function takes a batch and returns one, as in `torch.nn.functional`; on lanes it leaves out turning to lanes and
back, which layers that follow each other save: `from_lanes(linear_on_lanes(relu(linear_on_lanes(to_lanes(...`.
Functions of single numbers, as relu, may stand between; where a batch ends within a tile its last lanes hold numbers
of no meaning, which no gradient reaches while they are finite. Kernels are for float32 on a CPU; all else goes through
the dense weight.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.compiler import is_compiling

from prunus.errors import PrunusError
from prunus.kernel import operators
from prunus.kernel.connections import Connections
from prunus.kernel.convolutions import ConvConnections
from prunus.kernel.lanes import into_lanes, out_of_lanes
from prunus.kernel.matrices import LinearConnections
from prunus.kernel.rows import most_rows, product_of_rows
from prunus.kernel.vectors import LANES


def to_lanes(inputs: Tensor) -> Tensor:
    """(batch, ...) as lanes (ceil(batch / 16), ..., 16), with zeros where the batch ends within a tile.

    >>> to_lanes(torch.ones(20, 3)).shape
    torch.Size([2, 3, 16])
    """
    if _has_kernels(inputs):
        return cast(Tensor, operators.to_lanes(inputs) if is_compiling() else _ToLanes.apply(inputs))  # type: ignore[no-untyped-call]
    missing = -len(inputs) % LANES
    padded = torch.cat([inputs, inputs.new_zeros(missing, *inputs.shape[1:])])
    return padded.view(-1, LANES, *inputs.shape[1:]).movedim(1, -1)


def from_lanes(lanes: Tensor, batch: int) -> Tensor:
    """The batch (batch, ...) that `to_lanes` took, or what layers on lanes made of it."""
    if len(lanes) != -(-batch // LANES) or lanes.shape[-1] != LANES:
        raise PrunusError(f"lanes: found {tuple(lanes.shape)}, expected ({-(-batch // LANES)}, ..., {LANES}).")
    if _has_kernels(lanes):
        return cast(Tensor, operators.from_lanes(lanes, batch) if is_compiling() else _FromLanes.apply(lanes, batch))  # type: ignore[no-untyped-call]
    return lanes.movedim(-1, 1).flatten(0, 1)[:batch]


class Layer(NamedTuple):
    """A sparse layer, and whether relu follows."""

    values: Tensor
    bias: Tensor | None
    connections: Connections
    rectified: bool = False


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


def stack(inputs: Tensor, layers: Sequence[Layer], on_lanes: bool, batch: int | None) -> Tensor:
    """Layers that follow each other, as one step of autograd; `inputs` `on_lanes` or not, and outputs of a `batch`.

    Outputs are lanes where there is no `batch`.
    """
    if _has_kernels(inputs) and not is_compiling():
        parameters = [parameter for layer in layers for parameter in layer[:2]]
        return _Stack.apply(inputs, layers, on_lanes, batch, *parameters)  # type: ignore[no-any-return, no-untyped-call]
    lanes = inputs if on_lanes else to_lanes(inputs)
    for layer in layers:
        lanes = _layer(lanes, *layer[:3], True)
        lanes = lanes.relu() if layer.rectified else lanes
    return lanes if batch is None else from_lanes(lanes, batch)


def has_few_rows(inputs: Tensor, layers: Sequence[Layer]) -> bool:
    """Whether these layers are faster from batch to batch than on lanes: linear ones, with no gradient wanted."""
    if is_compiling() or not _has_kernels(inputs) or inputs.ndim != 2:
        return False
    trained = torch.is_grad_enabled()
    if trained and inputs.requires_grad:
        return False
    for values, bias, connections, _ in layers:
        if not isinstance(connections, LinearConnections) or len(inputs) > most_rows(len(connections.entries)):
            return False
        if trained and (values.requires_grad or (bias is not None and bias.requires_grad)):
            return False
    return True


def stack_of_batches(inputs: Tensor, layers: Sequence[Layer]) -> Tensor:
    """`stack` with a batch between any two layers: see `has_few_rows`."""
    for layer in layers:
        inputs = _layer(inputs, *layer[:3], False)
        inputs = inputs.relu() if layer.rectified else inputs
    return inputs


def gathered(weight: Tensor, connections: Connections) -> Tensor:
    """The `values` of a dense weight: its kept entries."""
    return weight.flatten()[connections.entries.to(weight.device)]


def scattered(values: Tensor, connections: Connections) -> Tensor:
    """The dense weight: `values` at the kept entries, zeros elsewhere."""
    weight = values.new_zeros(connections.shape)
    return weight.flatten().index_put((connections.entries.to(values.device),), values).view(connections.shape)


def _layer(inputs: Tensor, values: Tensor, bias: Tensor | None, connections: Connections, on_lanes: bool) -> Tensor:
    if _has_kernels(inputs) and not is_compiling():
        layers, batch = (Layer(values, bias, connections),), None if on_lanes else len(inputs)
        if not on_lanes and has_few_rows(inputs, layers):
            _check(inputs, values, bias, connections, False)
            return product_of_rows(inputs, values, bias, cast(LinearConnections, connections))
        return _Stack.apply(inputs, layers, on_lanes, batch, values, bias)  # type: ignore[no-any-return, no-untyped-call]
    _check(inputs, values, bias, connections, on_lanes)
    if not _has_kernels(inputs):
        return _reference(inputs, values, bias, connections, on_lanes)
    operator = operators.linear if isinstance(connections, LinearConnections) else operators.conv2d
    return operator(inputs, values, bias, *connections.taken_apart(), on_lanes)


class _Stack(torch.autograd.Function):
    """The operators without their cost, which is that of a small layer: for eager code."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, layers: Sequence[Layer], on_lanes: bool, batch: int | None, *parameters: Tensor | None
    ) -> Tensor:
        _check(inputs, *layers[0][:3], on_lanes)
        lanes = inputs.contiguous() if on_lanes else into_lanes(inputs)
        kept = [lanes]
        for values, bias, connections, rectified in layers:
            if len(kept) > 1:
                _check(lanes, values, bias, connections, True)
            lanes = operators.layer_outputs(connections, lanes, values, bias, None)
            kept.append(lanes.relu_() if rectified else lanes)
        ctx.layers, ctx.on_lanes, ctx.batch = layers, on_lanes, batch
        ctx.inputs_batch = len(inputs)
        ctx.save_for_backward(*kept[:-1], lanes if layers[-1].rectified else None, *parameters[::2])
        return lanes if batch is None else out_of_lanes(lanes, batch)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Any, ...]:
        count, saved, wanted = len(ctx.layers), ctx.saved_tensors, ctx.needs_input_grad
        of_lanes: Tensor | None = gradients.contiguous() if ctx.batch is None else into_lanes(gradients)
        of_parameters: list[Tensor | None] = []
        for i in reversed(range(count)):
            if of_lanes is None:  # nothing before is trained
                of_parameters[:0] = None, None
                continue
            _, _, connections, rectified = ctx.layers[i]
            if rectified:
                of_lanes = operators.rectified_gradients(of_lanes, saved[i + 1])
            needed = any(wanted[: 2 * i + 4]), *wanted[2 * i + 4 : 2 * i + 6]
            found = operators.layer_gradients(connections, of_lanes, saved[i], saved[count + 1 + i], None, needed)
            of_lanes = found[0]
            of_parameters[:0] = found[1] if needed[1] else None, found[2]
        if of_lanes is not None and not ctx.on_lanes:
            of_lanes = out_of_lanes(of_lanes, ctx.inputs_batch)
        return of_lanes, None, None, None, *of_parameters


class _ToLanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.batch = len(inputs)
        return into_lanes(inputs)

    @staticmethod
    def backward(ctx: Any, gradients: Tensor) -> Tensor:
        return from_lanes(gradients, ctx.batch)


class _FromLanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, lanes: Tensor, batch: int) -> Tensor:
        return out_of_lanes(lanes, batch)

    @staticmethod
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor, None]:
        return to_lanes(gradients), None


def _reference(inputs: Tensor, values: Tensor, bias: Tensor | None, connections: Connections, on_lanes: bool) -> Tensor:
    """What the kernels compute, by PyTorch on the dense weight."""
    batch = inputs.movedim(-1, 1).flatten(0, 1) if on_lanes else inputs
    outputs = connections.reference(batch, scattered(values, connections), bias)
    return outputs.unflatten(0, (-1, LANES)).movedim(1, -1) if on_lanes else outputs


def _has_kernels(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"


def _check(inputs: Tensor, values: Tensor, bias: Tensor | None, connections: Connections, on_lanes: bool) -> None:
    sizes = (*connections.expected(), LANES) if on_lanes else connections.expected()
    if inputs.ndim != len(sizes) + 1 or any(map(_differs, sizes, inputs.shape[1:])):
        expected = ", ".join("any" if n is None else str(n) for n in sizes)
        expected = f"({'tiles' if on_lanes else 'batch'}, {expected})"
        raise PrunusError(f"inputs: found {tuple(inputs.shape)}, expected {expected}.")
    if values.shape != connections.entries.shape or (bias is not None and len(bias) != connections.shape[0]):
        raise PrunusError(
            f"values and bias: found {tuple(values.shape)} and {None if bias is None else tuple(bias.shape)}, "
            f"expected {tuple(connections.entries.shape)} and ({connections.shape[0]},) or none."
        )
    for name, tensor in (("values", values), ("bias", bias)):
        if tensor is not None and (tensor.dtype != inputs.dtype or tensor.device != inputs.device):
            raise PrunusError(
                f"{name}: found {tensor.dtype} on {tensor.device}, and inputs of {inputs.dtype} on {inputs.device}."
            )


def _differs(expected: int | None, found: int) -> bool:
    return expected is not None and expected != found
