"""Three ways to give a fully connected network five times its weights: wider, or a diamond in place of each weight.

Source: Pensia et al. 2020, "Optimal lottery tickets via SubsetSum: logarithmic over-parameterization is sufficient",
section 5, experiment 2.
"""

from collections.abc import Callable
from itertools import pairwise
from math import prod, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REDUNDANCY = 5


class Diamond(nn.Module):
    """A layer whose inputs are each spread over `REDUNDANCY` hidden units, which all outputs gather; no biases."""

    def __init__(self, inputs: int, outputs: int, relu: bool) -> None:
        super().__init__()
        self.spread = nn.Parameter(torch.empty(REDUNDANCY * inputs, 1))
        self.gather = nn.Parameter(torch.empty(outputs, REDUNDANCY * inputs))
        self.relu = relu
        nn.init.kaiming_normal_(self.spread)
        nn.init.kaiming_normal_(self.gather)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, inputs) to (B, outputs)."""
        hidden = inputs.repeat(1, REDUNDANCY) * self.spread.squeeze(1)  # (B, REDUNDANCY * inputs)
        return F.linear(F.relu(hidden) if self.relu else hidden, self.gather)


class Stack(nn.Module):
    """Layers with ReLU between them, on flat images."""

    def __init__(self, widths: list[int], layer: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer(inputs, outputs) for inputs, outputs in pairwise(widths))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes)."""
        hidden = images.flatten(1)
        for number, layer in enumerate(self.layers):
            hidden = layer(F.relu(hidden) if number else hidden)
        return hidden


def widths_of(hidden: int, input_shape: tuple[int, int, int], classes: int) -> list[int]:
    """784-500-10 with one hidden layer, 784-500-500-500-10 with three."""
    return [prod(input_shape), *[500] * hidden, classes]


def diamonds(hidden: int, relu: bool, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Stack(widths_of(hidden, input_shape, classes), lambda inputs, outputs: Diamond(inputs, outputs, relu))


def wide(hidden: int, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """As many weights as the diamonds have, as nearly as a common width of the hidden layers allows."""
    first, *_, last = widths = widths_of(hidden, input_shape, classes)
    wanted = sum(REDUNDANCY * (inputs + inputs * outputs) for inputs, outputs in pairwise(widths))
    square, ends = hidden - 1, first + last  # square * width^2 + ends * width = wanted
    width = wanted / ends if not square else (sqrt(ends**2 + 4 * square * wanted) - ends) / (2 * square)
    layers = [first, *[round(width)] * hidden, last]
    return Stack(layers, lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False))


def wide_2(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return wide(1, input_shape, classes)


def linear_diamond_2(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return diamonds(1, False, input_shape, classes)


def relu_diamond_2(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return diamonds(1, True, input_shape, classes)


def wide_4(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return wide(3, input_shape, classes)


def linear_diamond_4(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return diamonds(3, False, input_shape, classes)


def relu_diamond_4(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return diamonds(3, True, input_shape, classes)
