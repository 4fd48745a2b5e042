"""One hidden layer without biases: the target of the subset-sum constructions (Pensia et al. 2020)."""

import torch.nn.functional as F
from torch import Tensor, nn


class FullyConnected500(nn.Module):
    """784-500-10 on 28x28 grey images and 10 classes: 397,000 weights, no bias."""

    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels * height * width, 500, bias=False)
        self.fc2 = nn.Linear(500, classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes)."""
        hidden = F.relu(self.fc1(images.flatten(1)))  # (B, 500)
        return self.fc2(hidden)  # type: ignore[no-any-return]
