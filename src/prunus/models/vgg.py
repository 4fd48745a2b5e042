"""VGG-16 and VGG-19 for small images: convolutions with BatchNorm, one classifier (Simonyan & Zisserman
2015).

The CIFAR form used by the pruning literature: the three wide layers at the end are one, 512-classes.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from prunus.models.start import he

_CONVOLUTIONS = {
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}  # in each stage; a pool follows every stage but the last


class VGG(nn.Module):
    """13 (VGG-16) or 16 (VGG-19) convolutions in five stages of 64, 128, 256, 512 and 512 maps.

    On colour images and 10 classes, all parameters: 14,724,042 and 20,035,018.
    """

    def __init__(self, depth: int, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage, count in enumerate(_CONVOLUTIONS[depth]):
            if stage > 0:
                layers.append(nn.MaxPool2d(2))
            maps = min(64 << stage, 512)
            for _ in range(count):
                layers += [
                    nn.Conv2d(channels, maps, 3, padding=1, bias=False),
                    nn.BatchNorm2d(maps),
                    nn.ReLU(),
                ]
                channels = maps
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(512, classes)
        self.apply(he)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes)."""
        maps = self.features(images)  # (B, 512, H / 16, W / 16)
        pooled = F.adaptive_avg_pool2d(maps, 1).flatten(1)  # (B, 512)
        return self.fc(pooled)  # type: ignore[no-any-return]
