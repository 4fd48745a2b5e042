"""Conv-2, -4, -6 and -8: small VGGs (Frankle & Carbin 2019, figure 2; Ramanujan et al. 2020)."""

import torch.nn.functional as F
from torch import Tensor, nn

from prunus.models.start import glorot


class Conv(nn.Module):
    """`depth` 3x3 convolutions, 64 maps wide and twice as wide after each pool, then 256-256-classes.

    A pool follows every second convolution. On 32x32 colour images and 10 classes: 4.3, 2.4, 2.3 and 5.3
    million weights with depth 2, 4, 6 and 8, of which 38,592, 259,776, 1.1 and 4.7 million are convolutions.
    (Figure 2 of the paper prints 1.7 million for Conv-6, which its own layer sizes don't give.)
    """

    def __init__(self, depth: int, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        convolutions: list[nn.Module] = []
        for pair in range(depth // 2):
            maps = 64 << pair
            convolutions += [nn.Conv2d(channels, maps, 3, padding=1), nn.Conv2d(maps, maps, 3, padding=1)]
            channels, height, width = maps, height // 2, width // 2
        self.convolutions = nn.ModuleList(convolutions)
        self.fc1 = nn.Linear(channels * height * width, 256)
        self.fc2 = nn.Linear(256, 256)
        self.fc3 = nn.Linear(256, classes)
        self.apply(glorot)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes)."""
        maps = images
        for number, convolution in enumerate(self.convolutions):
            maps = F.relu(convolution(maps))  # (B, 64 * 2^pair, H / 2^pair, W / 2^pair)
            if number % 2:
                maps = F.max_pool2d(maps, 2)
        hidden = F.relu(self.fc1(maps.flatten(1)))  # (B, 256)
        hidden = F.relu(self.fc2(hidden))  # (B, 256)
        return self.fc3(hidden)  # type: ignore[no-any-return]
