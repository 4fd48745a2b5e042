"""Networks of the benchmarks: one with BatchNorm, for what is decided by BatchNorm scales; one deep without biases."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Three convolutions with BatchNorm, 8, 16 and 32 maps, each half as high and wide, and one classifier.

    It reads each map's maximum: behind a mean, the last scales grow until they outrank whole layers before them.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.conv3, self.norm3 = nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)
        self.fc = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes)."""
        maps = F.relu(self.norm1(self.conv1(images)))  # (B, 8, H / 2, W / 2)
        maps = F.relu(self.norm2(self.conv2(maps)))  # (B, 16, H / 4, W / 4)
        maps = F.relu(self.norm3(self.conv3(maps)))  # (B, 32, H / 8, W / 8)
        return self.fc(F.adaptive_max_pool2d(maps, 1).flatten(1))


def conv_norm(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return ConvNorm(input_shape[0], classes).to(memory_format=torch.channels_last)  # which is faster


def four_layers(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """100-100-100-classes on images of any size, no biases."""
    widths = (math.prod(input_shape), 100, 100, 100)
    hidden = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b, bias=False), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(100, classes, bias=False))


def mlp_1024(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """inputs-1024-1024-classes: 1.86 million weights on 28x28 grey images."""
    widths = (math.prod(input_shape), 1024, 1024)
    hidden = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(1024, classes))
