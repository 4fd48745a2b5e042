"""The kernels as operators of `torch.library`, which torch.compile and torch.export see through."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from prunus.kernel.connections import Connections
from prunus.kernel.convolutions import ConvConnections
from prunus.kernel.lanes import into_lanes, out_of_lanes
from prunus.kernel.matrices import LinearConnections
from prunus.kernel.vectors import LANES

Layer = Callable[[Tensor, Tensor, Tensor | None, list[Tensor], list[int]], Tensor]


def _layer(name: str, kind: type[Connections]) -> Layer:
    """The operator of a layer on lanes, and under the name with _backward that of its gradients."""
    backward_name = f"prunus::{name}_backward"

    @torch.library.custom_op(
        f"prunus::{name}",
        mutates_args=(),
        schema="(Tensor inputs, Tensor values, Tensor? bias, Tensor[] connections, int[] numbers) -> Tensor",
    )
    def layer(
        inputs: Tensor, values: Tensor, bias: Tensor | None, connections: list[Tensor], numbers: list[int]
    ) -> Tensor:
        return kind.put_together(connections, numbers).outputs(inputs.contiguous(), values.contiguous(), bias)

    @layer.register_fake
    def _(inputs: Tensor, values: Tensor, bias: Tensor | None, connections: list[Tensor], numbers: list[int]) -> Tensor:
        size = kind.put_together(connections, numbers).output_size(tuple(inputs.shape[1:-1]))
        return inputs.new_empty(inputs.shape[0], *size, LANES)

    @torch.library.custom_op(
        backward_name,
        mutates_args=(),
        schema="(Tensor gradients, Tensor inputs, Tensor values, Tensor[] connections, int[] numbers, bool[] wanted)"
        " -> (Tensor, Tensor, Tensor)",
    )
    def backward(
        gradients: Tensor,
        inputs: Tensor,
        values: Tensor,
        connections: list[Tensor],
        numbers: list[int],
        wanted: list[bool],
    ) -> tuple[Tensor, Tensor, Tensor]:
        found = layer_gradients(
            kind.put_together(connections, numbers), gradients, inputs.contiguous(), values.contiguous(), wanted
        )
        of_inputs, of_values, of_bias = (values.new_empty(0) if gradient is None else gradient for gradient in found)
        return of_inputs, of_values, of_bias

    @backward.register_fake
    def _(
        gradients: Tensor,
        inputs: Tensor,
        values: Tensor,
        connections: list[Tensor],
        numbers: list[int],
        wanted: list[bool],
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_inputs, of_values, of_bias = wanted
        return (
            inputs.new_empty(inputs.shape if of_inputs else 0),
            values.new_empty(values.shape if of_values or of_bias else 0),
            values.new_empty(numbers[0] if of_bias else 0),
        )

    def set_up(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        lanes, values, bias, connections, numbers = inputs
        ctx.save_for_backward(lanes, values, *connections)
        ctx.numbers, ctx.biased = numbers, bias is not None

    def differentiate(ctx: Any, gradients: Tensor) -> tuple[Any, ...]:
        lanes, values, *connections = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        found = backward(gradients, lanes, values, connections, ctx.numbers, wanted)
        of = [gradient if want else None for gradient, want in zip(found, wanted, strict=True)]
        return *of, [None] * len(connections), None

    layer.register_autograd(differentiate, setup_context=set_up)
    return layer


def layer_gradients(
    connections: Connections, gradients: Tensor, inputs: Tensor, values: Tensor, wanted: list[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Those gradients of inputs, values and bias that are `wanted`."""
    gradients = gradients.contiguous()
    of_inputs = connections.input_gradients(gradients, values, tuple(inputs.shape[1:-1])) if wanted[0] else None
    of_values, of_bias = None, None
    if wanted[1] or wanted[2]:
        of_values, of_bias = connections.value_gradients(gradients, inputs, wanted[2])
    return of_inputs, of_values, of_bias


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
