"""The networks of Han et al. 2015 and 2016, LeNet-300-100 and Caffe's LeNet-5, with torch's own start.

That start, uniform within 1 / sqrt(fan in), suits pruning by magnitude over all layers at once: in wide layers it
is small beside what training adds, so their useless weights end near zero.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn


def lenet_300_100(channels: int, height: int, width: int, classes: int) -> nn.Sequential:
    """Two hidden layers of 300 and 100: 266,200 weights and 410 biases on 28x28 grey images.

    (B, C, H, W) to logits (B, classes).
    """
    layers = OrderedDict[str, nn.Module](
        flatten=nn.Flatten(),
        fc1=nn.Linear(channels * height * width, 300),
        relu1=nn.ReLU(),
        fc2=nn.Linear(300, 100),
        relu2=nn.ReLU(),
        fc3=nn.Linear(100, classes),
    )
    return nn.Sequential(layers)


class LeNet5(nn.Module):
    """Caffe's LeNet: 430,500 weights and 580 biases on 28x28 grey images.

    Not the network of LeCun et al. 1998. Caffe's own file has no ReLU after a convolution; this has, as in the papers
    on pruning since. Images smaller than 16x16 are padded, so that both 5x5 windows fit.
    """

    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        padding = 2 if min(height, width) < 16 else 0
        rows, columns = (((side - 4 + 2 * padding) // 2 - 4 + 2 * padding) // 2 for side in (height, width))
        self.conv1 = nn.Conv2d(channels, 20, 5, padding=padding)
        self.conv2 = nn.Conv2d(20, 50, 5, padding=padding)
        self.fc1 = nn.Linear(50 * rows * columns, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes); the shapes below are those of 28x28 images."""
        maps = F.relu(F.max_pool2d(self.conv1(images), 2))  # (B, 20, 12, 12)
        maps = F.relu(F.max_pool2d(self.conv2(maps), 2))  # (B, 50, 4, 4)
        hidden = F.relu(self.fc1(maps.flatten(1)))  # (B, 500)
        return self.fc2(hidden)  # type: ignore[no-any-return]
