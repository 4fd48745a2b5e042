"""What a data set is to the rest of the package: three parts, two of them at hand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import torch
from torch import Generator, Tensor

Augment = Callable[[Tensor, Generator], Tensor]


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels, with what normalises each channel: (raw - offset) / scale.

    >>> grey = torch.tensor([[[[0, 4]]], [[[4, 8]]]], dtype=torch.uint8)
    >>> split = Split(grey, torch.tensor([0, 1]), offset=torch.tensor([4.0]), scale=torch.tensor([2.0]))
    >>> split.normalise(split.inputs[:1]).tolist()
    [[[[-2.0, 0.0]]]]
    """

    inputs: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64
    offset: Tensor  # (C,) in units of the raw inputs
    scale: Tensor  # (C,)

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Split":
        """The same part on `device`; itself when it is there already."""
        if self.inputs.device == torch.device(device):
            return self
        moved = {name: getattr(self, name).to(device) for name in ("inputs", "labels", "offset", "scale")}
        return replace(self, **moved)

    def normalise(self, raw: Tensor) -> Tensor:
        """Raw inputs (B, C, H, W), bytes or floats, as normalised floats of the same shape."""
        return raw.to(self.offset.dtype, copy=True).sub_(self.offset[:, None, None]).mul_(self._factor)

    def first(self, rows: int) -> "Split":
        """The part of its first `rows` rows."""
        return replace(self, inputs=self.inputs[:rows], labels=self.labels[:rows])

    def batches(self, size: int, *, most: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The first `most` batches of `size` (inputs, labels) in order, normalised; the last may be smaller."""
        for inputs, labels in islice(zip(self.inputs.split(size), self.labels.split(size), strict=True), most):
            yield self.normalise(inputs), labels

    @cached_property
    def _factor(self) -> Tensor:
        return self.scale.reciprocal()[:, None, None]


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: `train` and `validation` at hand, the test part read only when `test()` is called."""

    name: str
    train: Split
    validation: Split
    classes: tuple[str, ...]
    augment: Augment | None  # what usually helps on this set; for training, if its settings ask for it
    fingerprint: str  # of the bytes that `train` and `validation` were read from
    read_test: Callable[[], tuple[Tensor, Tensor]]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one input."""
        channels, height, width = self.train.inputs.shape[1:]
        return channels, height, width

    @property
    def calibration(self) -> list[Tensor]:
        """Normalised training inputs, 40 batches of 256, that BatchNorm statistics are estimated anew from."""
        return [inputs for inputs, _ in self.train.batches(256, most=40)]

    def test(self) -> Split:
        """The test part, read from the disk at the first call: to report with, never to choose with."""
        return self._test

    @cached_property
    def _test(self) -> Split:
        inputs, labels = self.read_test()
        return replace(self.train, inputs=inputs, labels=labels)
