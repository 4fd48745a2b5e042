"""What random networks are made of beside torch's own layers: the structure in which their weights are drawn."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Repeat(nn.Module):
    """Every feature or channel `times` times, one copy after the other: (B, C, ...) to (B, times * C, ...)."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """Copies of feature j are at j * times to (j + 1) * times - 1."""
        return x.repeat_interleave(self.times, 1)

    def extra_repr(self) -> str:
        """What the module is printed with."""
        return str(self.times)


class One(nn.Module):
    """A further feature or channel, the last, that is always one, for biases: (B, C, ...) to (B, C + 1, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        """Further rows and columns of zeros belong before this module: the ones reach to the border."""
        return torch.cat([x, torch.ones_like(x[:, :1])], 1)


class Pad(nn.Module):
    """`rows` of zeros above and below, `columns` left and right: (B, C, H, W) to (B, C, H + 2 rows, W + 2 columns)."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x: Tensor) -> Tensor:
        """The padded images."""
        return F.pad(x, (self.columns, self.columns, self.rows, self.rows))

    def extra_repr(self) -> str:
        """What the module is printed with."""
        return f"{self.rows}, {self.columns}"


class RandomNetwork(nn.Sequential):
    """Random layers, run one after the other."""
