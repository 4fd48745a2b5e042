"""Batch normalisation of lanes in training (Ioffe and Szegedy 2015): a channel's numbers are read from memory once."""

from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prunus.code.compiled import compiled
from prunus.kernel.memory import empty
from prunus.kernel.parallel import run
from prunus.kernel.vectors import LINE, combine, moments, number, put, taken, unpacked


def batch_norm_on_lanes(
    inputs: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Channels of lanes (tiles, channels, ..., 16) normalised, and the mean and variance that they had (channels,)."""
    weight = inputs.new_ones(inputs.shape[1]) if weight is None else weight
    bias = inputs.new_zeros(inputs.shape[1]) if bias is None else bias
    return _BatchNorm.apply(inputs.contiguous(), weight, bias, eps)  # type: ignore[no-any-return, no-untyped-call]


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        outputs, settings = empty(*inputs.shape), torch.tensor([eps])
        mean, variance, inverse = inputs.new_empty(3, inputs.shape[1])
        tensors = (inputs, outputs, weight.contiguous(), bias.contiguous(), settings, mean, variance, inverse)
        _run(normalisation, *tensors)
        ctx.save_for_backward(inputs, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return outputs, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, mean, inverse = ctx.saved_tensors
        of_inputs, (of_weight, of_bias) = empty(*inputs.shape), inputs.new_empty(2, len(weight))
        tensors = (inputs, of_inputs, weight.contiguous(), gradients.contiguous(), mean, inverse, of_weight, of_bias)
        _run(normalisation_gradients, *tensors)
        return of_inputs, of_weight, of_bias, None


def _run(kernel: Any, inputs: Tensor, *others: Tensor) -> None:
    tiles, channels = inputs.shape[:2]
    if inputs.numel():
        lines = inputs.numel() * 4 // (tiles * channels * LINE)
        addresses = [tensor.data_ptr() for tensor in (inputs, *others)]
        run(kernel, min(torch.get_num_threads(), channels), tiles, channels, lines, *addresses)


def normalisation(pointer: Any) -> Any:
    """Outputs (tiles, channels, lines, 16), and the mean, the variance and one by the deviation of channels."""
    numbers = unpacked(pointer, 11)
    tiles, channels, lines, inputs, outputs, weight, bias, eps, means, variances, inverses = numbers
    count = tiles * lines * (LINE // 4)
    while True:
        channel = taken(pointer, 0)
        if channel >= channels:
            break
        mean = _moments(inputs, inputs, 0.0, 0.0, (tiles, channels, lines), channel)[0] / count
        left, squares = _moments(inputs, inputs, mean, mean, (tiles, channels, lines), channel)
        variance = (squares - left * left / count) / count
        inverse = 1 / sqrt(variance + number(eps, 0))
        put(means, channel, mean)
        put(variances, channel, variance)
        put(inverses, channel, inverse)
        scale = inverse * number(weight, channel)
        shift = number(bias, channel) - mean * scale
        for tile in range(tiles):
            place = (tile * channels + channel) * lines * LINE
            combine(outputs + place, inputs + place, scale, inputs + place, 0.0, shift, lines)


def normalisation_gradients(pointer: Any) -> Any:
    """Gradients of inputs (tiles, channels, lines, 16), and those of weight and bias."""
    numbers = unpacked(pointer, 11)
    tiles, channels, lines, inputs, outputs, weight, gradients, means, inverses, of_weight, of_bias = numbers
    count = tiles * lines * (LINE // 4)
    while True:
        channel = taken(pointer, 0)
        if channel >= channels:
            break
        mean, inverse = number(means, channel), number(inverses, channel)
        sum_, product = _moments(gradients, inputs, 0.0, mean, (tiles, channels, lines), channel)
        put(of_weight, channel, product * inverse)
        put(of_bias, channel, sum_)
        scale = inverse * number(weight, channel)
        slope = -scale * inverse * inverse * product / count
        shift = -scale * sum_ / count - slope * mean
        for tile in range(tiles):
            place = (tile * channels + channel) * lines * LINE
            combine(outputs + place, gradients + place, scale, inputs + place, slope, shift, lines)


@compiled
def _moments(one: Any, other: Any, from_one: Any, from_other: Any, sizes: Any, channel: Any) -> Any:
    """Over a channel, the sum of one - from_one and that of its products with other - from_other."""
    tiles, channels, lines = sizes
    sum_, product = 0.0, 0.0
    for tile in range(tiles):
        place = (tile * channels + channel) * lines * LINE
        some = moments(one + place, other + place, from_one, from_other, lines)
        sum_ += some[0]
        product += some[1]
    return sum_, product
