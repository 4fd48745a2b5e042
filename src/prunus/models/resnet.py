"""ResNet-20, -32, -44 and -56 for small images (He et al. 2016, section 4.2).

Where the width doubles, the shortcut is the parameter-free one of that section ("option A"): every second
pixel, and zeros for the new maps. Parameter names are those of the widely used public CIFAR-10 checkpoints,
which therefore load.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from prunus.models.start import he


class Shortcut(nn.Module):
    """Every `stride`-th pixel, and `new_maps` maps of zeros, half of them in front."""

    def __init__(self, stride: int, new_maps: int) -> None:
        super().__init__()
        self.stride, self.new_maps = stride, new_maps

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, channels + new_maps, H / stride, W / stride)."""
        half = self.new_maps // 2
        return F.pad(maps[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int, maps: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, maps, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.shortcut = Shortcut(stride, maps - channels) if maps > channels else nn.Identity()

    def forward(self, before: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, maps, H / stride, W / stride)."""
        after = F.relu(self.bn1(self.conv1(before)))
        after = self.bn2(self.conv2(after))
        return F.relu(after + self.shortcut(before))


class ResNet(nn.Module):
    """`depth` = 6n + 2 layers: three stages of n blocks, 16, 32 and 64 maps wide.

    On colour images and 10 classes, all parameters: 269,722 (20), 464,154 (32), 658,586 (44), 853,018 (56).
    """

    def __init__(self, depth: int, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(blocks)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), *(Block(32, 32, 1) for _ in range(blocks - 1)))
        self.layer3 = nn.Sequential(Block(32, 64, 2), *(Block(64, 64, 1) for _ in range(blocks - 1)))
        self.linear = nn.Linear(64, classes)
        self.apply(he)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes)."""
        maps = F.relu(self.bn1(self.conv1(images)))  # (B, 16, H, W)
        maps = self.layer1(maps)  # (B, 16, H, W)
        maps = self.layer2(maps)  # (B, 32, H / 2, W / 2)
        maps = self.layer3(maps)  # (B, 64, H / 4, W / 4)
        return self.linear(maps.mean(dim=(2, 3)))  # type: ignore[no-any-return]
