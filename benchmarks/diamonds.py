"""Three ways to give a fully connected network five times its weights: wider, or a diamond in place of each weight.

For 784-500-10 (`fc_2`), 784-500-500-500-10 (`fc_4`) and the layers 400-120-84-10 behind the trained convolutions of
LeCun's LeNet-5 (`lenet`), which stay as they are.

Source: Pensia et al. 2020, "Optimal lottery tickets via SubsetSum: logarithmic over-parameterization is sufficient",
section 5, experiment 2.
"""

from collections.abc import Callable
from itertools import pairwise
from math import prod, sqrt
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.checkpoint import read_weights

REDUNDANCY = 5
CONVOLUTIONS = Path(__file__).with_name("lenet-convolutions.safetensors")


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
    """Layers with ReLU between them, on flat images or on the `features` of images."""

    def __init__(
        self, widths: list[int], layer: Callable[[int, int], nn.Module], features: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.features = features or nn.Flatten()
        self.layers = nn.ModuleList(layer(inputs, outputs) for inputs, outputs in pairwise(widths))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes)."""
        hidden = self.features(images)
        for number, layer in enumerate(self.layers):
            hidden = layer(F.relu(hidden) if number else hidden)
        return hidden


class Convolutions(nn.Module):
    """Those of LeCun et al. 1998 on 28x28 grey images: 6 and 16 maps of 5x5, ReLU and maximum pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 28, 28) to (B, 400)."""
        maps = F.max_pool2d(F.relu(self.conv1(images)), 2)  # (B, 6, 14, 14)
        return F.max_pool2d(F.relu(self.conv2(maps)), 2).flatten(1)


class Features(nn.Module):
    """The convolutions as they were trained; no parameters, so nothing draws, prunes or trains them."""

    def __init__(self) -> None:
        super().__init__()
        trained = read_weights(CONVOLUTIONS)
        for name in ("conv1", "conv2"):
            self.register_buffer(f"{name}_weight", trained[f"features.{name}.weight"])
            self.register_buffer(f"{name}_bias", trained[f"features.{name}.bias"])

    def forward(self, images: Tensor) -> Tensor:
        """As `Convolutions`."""
        maps = F.max_pool2d(F.relu(F.conv2d(images, self.conv1_weight, self.conv1_bias, padding=2)), 2)
        return F.max_pool2d(F.relu(F.conv2d(maps, self.conv2_weight, self.conv2_bias)), 2).flatten(1)


def linear(inputs: int, outputs: int) -> nn.Module:
    return nn.Linear(inputs, outputs, bias=False)


def lenet() -> nn.Module:
    """The network whose convolutions `Features` has."""
    return Stack([400, 120, 84, 10], linear, Convolutions())


def widths_of(network: str, input_shape: tuple[int, int, int], classes: int) -> list[int]:
    """Units of each layer, inputs and outputs included."""
    if network == "lenet":
        return [400, 120, 84, classes]
    hidden = {"fc_2": 1, "fc_4": 3}[network]
    return [prod(input_shape), *[500] * hidden, classes]


def wider(widths: list[int]) -> list[int]:
    """Hidden layers wider by a common factor, for as many weights as the diamonds have, as nearly as that allows."""
    first, *hidden, last = widths
    wanted = sum(REDUNDANCY * (inputs + inputs * outputs) for inputs, outputs in pairwise(widths))
    square = sum(inputs * outputs for inputs, outputs in pairwise(hidden))
    ends = first * hidden[0] + hidden[-1] * last  # square * factor^2 + ends * factor = wanted
    factor = wanted / ends if not square else (sqrt(ends**2 + 4 * square * wanted) - ends) / (2 * square)
    return [first, *(round(factor * width) for width in hidden), last]


def wide(network: str, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Stack(wider(widths_of(network, input_shape, classes)), linear, features_of(network))


def diamonds(network: str, relu: bool, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    widths = widths_of(network, input_shape, classes)
    return Stack(widths, lambda inputs, outputs: Diamond(inputs, outputs, relu), features_of(network))


def features_of(network: str) -> nn.Module | None:
    return Features() if network == "lenet" else None


def wide_fc_2(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return wide("fc_2", input_shape, classes)


def linear_diamond_fc_2(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return diamonds("fc_2", False, input_shape, classes)


def relu_diamond_fc_2(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return diamonds("fc_2", True, input_shape, classes)


def wide_fc_4(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return wide("fc_4", input_shape, classes)


def linear_diamond_fc_4(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return diamonds("fc_4", False, input_shape, classes)


def relu_diamond_fc_4(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return diamonds("fc_4", True, input_shape, classes)


def wide_lenet(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return wide("lenet", input_shape, classes)


def linear_diamond_lenet(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return diamonds("lenet", False, input_shape, classes)


def relu_diamond_lenet(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return diamonds("lenet", True, input_shape, classes)
