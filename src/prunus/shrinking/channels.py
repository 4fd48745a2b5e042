"""The channels of a whole network, by number."""

from dataclasses import dataclass

import torch
from torch import Size, Tensor


class Channels:
    """Numbered channels: joined ones live and die together, pinned ones live.

    >>> channels = Channels()
    >>> first, second = channels.new(2), channels.new(2)
    >>> channels.join(first, second)
    >>> channels.groups().tolist()
    [0, 1, 0, 1]
    """

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._pinned: set[int] = set()

    def new(self, count: int) -> Tensor:
        """Numbers (count,) of new channels."""
        first = len(self._parents)
        self._parents += range(first, first + count)
        return torch.arange(first, first + count)

    def join(self, first: Tensor, second: Tensor) -> None:
        """Tie each of the numbers `first` (count,) to the one of `second` (count,) at the same place."""
        for pair in zip(first.tolist(), second.tolist(), strict=True):
            low, high = sorted(map(self._root, pair))
            self._parents[high] = low

    def pin(self, numbers: Tensor) -> None:
        """Let these live whether or not anything needs them."""
        self._pinned.update(numbers.tolist())

    @property
    def pinned(self) -> Tensor:
        """The numbers of the pinned channels."""
        return torch.tensor(sorted(self._pinned), dtype=torch.int64)

    def groups(self) -> Tensor:
        """For each channel, the lowest number among those that it is joined to, itself included."""
        return torch.tensor([self._root(number) for number in range(len(self._parents))], dtype=torch.int64)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number


@dataclass(frozen=True)
class Signal:
    """What is known about a tensor (batch, channels, ...) inside the network, whatever the network's input is."""

    channels: Tensor  # (channels,) numbers
    constants: Tensor  # (channels,) float64: the one value that a channel takes everywhere, NaN where it varies
    shape: Size

    @classmethod
    def varying(cls, channels: Tensor, shape: Size) -> "Signal":
        """Nothing is known of the values."""
        return cls(channels, torch.full(channels.shape, torch.nan, dtype=torch.float64), shape)
