"""A person's own networks, in a person's own file."""

import torch.nn.functional as F
from torch import Tensor, nn


class Noisy(nn.Module):
    """Dropout, BatchNorm and a buffer: everything that can make two runs differ."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, 16)
        self.norm = nn.BatchNorm1d(16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.dropout(F.relu(self.norm(self.fc1(images.flatten(1)))), 0.2, self.training)
        return self.fc2(hidden)  # type: ignore[no-any-return]


def noisy() -> nn.Module:
    return Noisy()


def plain() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
