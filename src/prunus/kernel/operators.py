"""The kernels as operators of `torch.library`, which torch.compile and torch.export see through."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from prunus.kernel.connections import Connections
from prunus.kernel.convolutions import ConvConnections
from prunus.kernel.lanes import into_lanes, out_of_lanes
from prunus.kernel.matrices import LinearConnections
from prunus.kernel.memory import empty, workspace
from prunus.kernel.vectors import LANES

Layer = Callable[[Tensor, Tensor, Tensor | None, list[Tensor], list[int], bool], Tensor]


def _layer(name: str, kind: type[Connections]) -> Layer:
    """The operator of a layer, on lanes or not, and under the name with _backward that of its gradients."""

    @torch.library.custom_op(
        f"prunus::{name}",
        mutates_args=(),
        schema="(Tensor inputs, Tensor values, Tensor? bias, Tensor[] connections, int[] numbers, bool on_lanes)"
        " -> Tensor",
    )
    def layer(
        inputs: Tensor,
        values: Tensor,
        bias: Tensor | None,
        connections: list[Tensor],
        numbers: list[int],
        on_lanes: bool,
    ) -> Tensor:
        lanes = inputs.contiguous() if on_lanes else into_lanes(inputs, "inputs")
        batch = None if on_lanes else len(inputs)
        return layer_outputs(kind.put_together(connections, numbers), lanes, values, bias, batch)

    @layer.register_fake
    def _(
        inputs: Tensor,
        values: Tensor,
        bias: Tensor | None,
        connections: list[Tensor],
        numbers: list[int],
        on_lanes: bool,
    ) -> Tensor:
        layer, lanes = kind.put_together(connections, numbers), (LANES,) if on_lanes else ()
        return inputs.new_empty(inputs.shape[0], *layer.output_size(inputs.shape[1 : inputs.ndim - on_lanes]), *lanes)

    @torch.library.custom_op(
        f"prunus::{name}_backward",
        mutates_args=(),
        schema="(Tensor gradients, Tensor inputs, Tensor values, Tensor[] connections, int[] numbers, bool on_lanes, "
        "bool[] wanted) -> (Tensor, Tensor, Tensor)",
    )
    def backward(
        gradients: Tensor,
        inputs: Tensor,
        values: Tensor,
        connections: list[Tensor],
        numbers: list[int],
        on_lanes: bool,
        wanted: list[bool],
    ) -> tuple[Tensor, Tensor, Tensor]:
        lanes = inputs.contiguous() if on_lanes else into_lanes(inputs, "inputs")
        batch = None if on_lanes else len(inputs)
        found = layer_gradients(kind.put_together(connections, numbers), gradients, lanes, values, batch, wanted)
        of_inputs, of_values, of_bias = (values.new_empty(0) if gradient is None else gradient for gradient in found)
        return of_inputs, of_values, of_bias

    @backward.register_fake
    def _(
        gradients: Tensor,
        inputs: Tensor,
        values: Tensor,
        connections: list[Tensor],
        numbers: list[int],
        on_lanes: bool,
        wanted: list[bool],
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_inputs, of_values, of_bias = wanted
        return (
            inputs.new_empty(inputs.shape if of_inputs else 0),
            values.new_empty(values.shape if of_values or of_bias else 0),
            values.new_empty(numbers[0] if of_bias else 0),
        )

    def set_up(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        batch, values, _, connections, ctx.numbers, ctx.on_lanes = inputs
        ctx.save_for_backward(batch, values, *connections)

    def differentiate(ctx: Any, gradients: Tensor) -> tuple[Any, ...]:
        inputs, values, *connections = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        found = backward(gradients, inputs, values, connections, ctx.numbers, ctx.on_lanes, wanted)
        of = [gradient if want else None for gradient, want in zip(found, wanted, strict=True)]
        return *of, [None] * len(connections), None, None

    layer.register_autograd(differentiate, setup_context=set_up)
    return layer


def layer_outputs(
    connections: Connections, lanes: Tensor, values: Tensor, bias: Tensor | None, batch: int | None
) -> Tensor:
    """Outputs; lanes where there is no `batch`."""
    size = (len(lanes), *connections.output_size(tuple(lanes.shape[1:-1])), LANES)
    outputs = empty(*size) if batch is None else workspace("outputs", *size)
    connections.outputs(lanes, values.contiguous(), None if bias is None else bias.contiguous(), outputs)
    return outputs if batch is None else out_of_lanes(outputs, batch)


def layer_gradients(
    connections: Connections,
    gradients: Tensor,
    lanes: Tensor,
    values: Tensor,
    batch: int | None,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Those gradients of inputs, values and bias that are `wanted`; of lanes where there is no `batch`."""
    gradients = gradients.contiguous() if batch is None else into_lanes(gradients, "gradients")
    values = values.contiguous()
    of_inputs, of_values, of_bias = None, None, None
    if wanted[0]:
        of_inputs = empty(*lanes.shape) if batch is None else workspace("outputs", *lanes.shape)
    if of_inputs is None:
        of_values, of_bias = connections.value_gradients(gradients, lanes, wanted[2])
    elif wanted[1] or wanted[2]:
        of_values, of_bias = connections.gradients(gradients, lanes, values, of_inputs, wanted[2])
    else:
        connections.input_gradients(gradients, values, of_inputs)
    if of_inputs is not None and batch is not None:
        of_inputs = out_of_lanes(of_inputs, batch)
    return of_inputs, of_values, of_bias


def rectified_gradients(gradients: Tensor, outputs: Tensor) -> Tensor:
    """Those of what relu made `outputs` of."""
    found = empty(*outputs.shape)
    torch.ops.aten.threshold_backward.grad_input(gradients, outputs, 0, grad_input=found)
    return found


@torch.library.custom_op("prunus::to_lanes", mutates_args=(), schema="(Tensor inputs) -> Tensor")
def to_lanes(inputs: Tensor) -> Tensor:
    """`into_lanes` as an operator."""
    return into_lanes(inputs)


@to_lanes.register_fake
def _(inputs: Tensor) -> Tensor:
    return inputs.new_empty((inputs.shape[0] + LANES - 1) // LANES, *inputs.shape[1:], LANES)


@torch.library.custom_op("prunus::from_lanes", mutates_args=(), schema="(Tensor lanes, SymInt batch) -> Tensor")
def from_lanes(lanes: Tensor, batch: int) -> Tensor:
    """`out_of_lanes` as an operator."""
    return out_of_lanes(lanes, batch)


@from_lanes.register_fake
def _(lanes: Tensor, batch: int) -> Tensor:
    return lanes.new_empty(batch, *lanes.shape[1:-1])


def _keep_batch(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.batch = inputs[0].shape[0]


to_lanes.register_autograd(lambda ctx, gradients: from_lanes(gradients, ctx.batch), setup_context=_keep_batch)
from_lanes.register_autograd(lambda ctx, gradients: (to_lanes(gradients), None))

linear = _layer("linear", LinearConnections)
conv2d = _layer("conv2d", ConvConnections)
