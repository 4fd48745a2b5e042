"""Networks and settings small enough to be trained in a test, or by hand."""

import torch
from torch import Tensor, nn

from prunus.data import load
from prunus.settings import Settings
from prunus.supermask import Bernoulli, EdgePopup, GemMiner, Learning, Start

DIGITS = load("digits")
SETTINGS = Settings(steps=40, batch=50, optimizer="sgd", learning_rate=1.0, weight_decay=1e-4, decay="cosine")


class Normed(nn.Module):
    """A convolution with BatchNorm before a linear layer with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.norm(self.conv(images)))  # (B, 8, 4, 4)
        return self.fc(maps.flatten(1))  # type: ignore[no-any-return]


def methods(model: nn.Module, start: Start) -> dict[str, Learning]:
    """One of each."""
    return {
        "edge-popup": EdgePopup(model, start, 0.3),
        "bernoulli": Bernoulli(model, start),
        "gem-miner": GemMiner(model, start, 0.1, every=8, freezings=4),
    }


NAMES = ("edge-popup", "bernoulli", "gem-miner")
