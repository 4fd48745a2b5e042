"""Networks of the benchmarks at other widths: VGG-19 a quarter as wide, and networks narrow all along.

The narrow ones have about as many parameters as their wide ones where `prunus.low_rank` is a quarter of full rank.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.models.start import he

_VGG_19 = (2, 2, 4, 4, 4)  # convolutions in each stage; a pool follows every stage but the last


def mlp_626(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """inputs-626-626-classes."""
    widths = (math.prod(input_shape), 626, 626)
    hidden = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(626, classes))


class NarrowLeNet5(nn.Module):
    """Caffe's LeNet with 13, 32 and 317 maps and units for 20, 50 and 500; for 28x28 images."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 13, 5), nn.Conv2d(13, 32, 5)
        self.fc1, self.fc2 = nn.Linear(32 * 4 * 4, 317), nn.Linear(317, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, 28, 28) to logits (B, classes)."""
        maps = F.relu(F.max_pool2d(self.conv1(images), 2))  # (B, 13, 12, 12)
        maps = F.relu(F.max_pool2d(self.conv2(maps), 2))  # (B, 32, 4, 4)
        return self.fc2(F.relu(self.fc1(maps.flatten(1))))


def lenet_5_narrow(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return _fast(NarrowLeNet5(input_shape[0], classes))


class VGG19(nn.Module):
    """Sixteen convolutions with BatchNorm in five stages of `maps`, 2, 4, 8 and 8 times as many, and one classifier."""

    def __init__(self, maps: int, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage, count in enumerate(_VGG_19):
            layers += [nn.MaxPool2d(2)] if stage else []
            wide = maps * min(1 << stage, 8)
            for _ in range(count):
                layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
                channels = wide
        self.features, self.fc = nn.Sequential(*layers), nn.Linear(channels, classes)
        self.apply(he)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes)."""
        return self.fc(F.adaptive_avg_pool2d(self.features(images), 1).flatten(1))


def vgg_19_quarter(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return _fast(VGG19(16, input_shape[0], classes))


def vgg_19_narrow(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return _fast(VGG19(10, input_shape[0], classes))


def _fast(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.channels_last)
