"""Networks in which layers follow each other in all the ways that there are."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Convolutions with BatchNorm, a strided one, a shortcut past two of them, and one through a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(8)
        self.conv3 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.shortcut = Widened()
        self.fc = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.norm1(self.conv1(images)))
        maps = F.relu(maps + self.norm2(self.conv2(maps)))
        maps = F.relu(self.conv3(maps) + self.shortcut(maps))
        return self.fc(maps.mean(dim=(2, 3)))


class Widened(nn.Module):
    """Every second pixel, with four maps of zeros behind."""

    def forward(self, maps: Tensor) -> Tensor:
        return F.pad(maps[:, :, ::2, ::2], (0, 0, 0, 0, 0, 4))


class Wavering(nn.Module):
    """A network that decides by what it reads, and so cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 16), nn.Linear(16, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.fc1(inputs)
        return self.fc2(F.relu(hidden) if hidden.sum() > 0 else F.gelu(hidden))


def perceptron() -> nn.Module:
    parts = [nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16, bias=False), nn.GELU()]
    return nn.Sequential(*parts, nn.Dropout(0.0), nn.Linear(16, 5))


def rectified() -> nn.Module:
    """Layers with ReLU behind, of which the first is not trained."""
    middle = [nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 12), nn.Linear(12, 16), nn.ReLU()]
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(inplace=True), *middle, nn.Sequential(nn.Linear(16, 5), nn.ReLU()))
    model[0].requires_grad_(False)
    return model


def pooling() -> nn.Module:
    parts = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, (3, 1), groups=2), nn.Tanh()]
    return nn.Sequential(*parts, nn.Conv2d(8, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))


class Twice(nn.Module):
    """A layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 12), nn.Linear(12, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(F.relu(self.fc1(inputs)))))


class Normalised(nn.Module):
    """Something between two layers that looks at all features of an example at once."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.norm, self.fc2 = nn.Linear(12, 16), nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc2(F.softmax(self.norm(F.relu(self.fc1(inputs))), dim=-1))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (3, 8, 9)),
    "wavering": (Wavering, (12,)),
    "perceptron": (perceptron, (12,)),
    "rectified": (rectified, (12,)),
    "pooling": (pooling, (3, 10, 8)),
    "twice": (Twice, (12,)),
    "normalised": (Normalised, (12,)),
}


def made(name: str, batch: int) -> tuple[nn.Module, Tensor]:
    """A network and a batch of inputs, both the same each time."""
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    return build(), torch.randn(batch, *shape)
