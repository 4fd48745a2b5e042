"""Linear mode connectivity: the error on the straight line from one network to another.

Source: Frankle et al. 2020, "Linear mode connectivity and the lottery ticket hypothesis", section 2.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunus import batchnorm
from prunus.data import Split
from prunus.errors import PrunusError, unknown
from prunus.evaluation import device_of, evaluate
from prunus.progress import Progress, silent
from prunus.snapshot import Snapshot
from prunus.tree import Tree, parameters, unwrapped, zipped


@dataclass(frozen=True)
class Path:
    """The errors (percent) on each split at `parts` of the way, and the L2 distance between the ends' parameters."""

    parts: tuple[float, ...]
    errors: Mapping[str, tuple[float, ...]]
    distance: float

    def barrier(self, split: str) -> float:
        """The highest error on the path less the mean of its ends', in percentage points; the ends are on the path.

        Ends that differ in error have a barrier of half the difference at least.

        >>> Path((0.0, 0.5, 1.0), {"test": (2.0, 9.0, 4.0)}, distance=1.0).barrier("test")
        6.0
        """
        if split not in self.errors:
            raise unknown("split", split, self.errors)
        errors = self.errors[split]
        return max(errors) - (errors[0] + errors[-1]) / 2


@torch.no_grad()
def interpolated(first: Tree, second: Tree, part: float) -> dict[str, Tensor]:
    """`(1 - part) * first + part * second`; at 0 and 1 copies of the ends, bit for bit.

    Integers, such as BatchNorm's count of batches, are those of the nearer end, in the middle the first's. Raises
    `PrunusError` for a part outside [0, 1] and for ends whose names, shapes or types differ.

    >>> interpolated({"bias": torch.tensor([0.0, 4.0])}, {"bias": torch.tensor([1.0, 4.0])}, 0.25)
    {'bias': tensor([0.2500, 4.0000])}
    """
    if not 0 <= part <= 1:
        raise PrunusError(f"part {part} of the way is outside [0, 1].")
    return {name: _between(name, start, end, part) for name, (start, end) in zipped(first, second)}


def _between(name: str, start: Tensor, end: Tensor, part: float) -> Tensor:
    if start.dtype != end.dtype:
        raise PrunusError(f"{name}: {start.dtype} != {end.dtype}.")
    if part in (0, 1) or not start.is_floating_point():
        return (start if part <= 0.5 else end).clone()
    return torch.lerp(start, end, part)  # exact where both are equal, unlike the sum of two products


@torch.no_grad()
def connect(
    model: nn.Module,
    first: Tree,
    second: Tree,
    splits: Mapping[str, Split],
    *,
    points: int = 30,
    recalibrate: Iterable[Tensor] | None = None,
    progress: Progress = silent,
) -> Path:
    """Evaluate `model` on `splits` at `points` evenly spaced places from `first` to `second`, both ends included.

    The ends are state dicts of `model`, or parameters and buffers by name. Averaged BatchNorm statistics fit no
    network, so those of every point, the ends too, are estimated anew from the batches of inputs `recalibrate`.
    The model's own weights and buffers are put back.

    Raises `PrunusError` for ends that do not fit the model, fewer than two points, and BatchNorm statistics without
    batches or with an iterator, which would last for one point; `DivergedError` where logits are not finite.
    """
    if points < 2:
        raise PrunusError(f"a path has two points at least, found {points}.")
    _check_batches(model, recalibrate)
    start, end = _fitting(model, first), _fitting(model, second)
    device = device_of(model)
    here = {name: split.to(device) for name, split in splits.items()}
    parts = tuple(number / (points - 1) for number in range(points))
    errors: dict[str, list[float]] = {name: [] for name in splits}
    before = Snapshot.take(model)
    try:
        for number, part in enumerate(parts, 1):
            _write(model, interpolated(start, end, part))
            if recalibrate is not None:
                batchnorm.recalibrate(model, (batch.to(device) for batch in recalibrate))
            for name, split in here.items():
                errors[name].append(evaluate(model, split).error)
            progress("connect", number, points, f"part {part:.2f}")
    finally:
        before.restore_weights(model)
    distance = _distance([(start[name], end[name]) for name in parameters(model)])
    return Path(parts, {name: tuple(values) for name, values in errors.items()}, distance)


def _check_batches(model: nn.Module, batches: Iterable[Tensor] | None) -> None:
    for name, layer in unwrapped(model).named_modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None:
            if batches is None:
                raise PrunusError(f"layer '{name}' keeps BatchNorm statistics: pass recalibrate=[inputs, ...].")
            if isinstance(batches, Iterator):
                raise PrunusError("recalibrate is an iterator, which lasts for one point: pass a list of batches.")


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of `model` that its state dict has, each once, under its first name."""
    inner = unwrapped(model)
    saved = inner.state_dict().keys()
    return {name: value for name, value in chain(inner.named_parameters(), inner.named_buffers()) if name in saved}


def _fitting(model: nn.Module, end: Tree) -> dict[str, Tensor]:
    """Copies of `end` where the model is, without the further names of tied tensors and buffers that are not saved."""
    inner, own = unwrapped(model), _tensors(model)
    known = chain(inner.named_parameters(remove_duplicate=False), inner.named_buffers(remove_duplicate=False))
    spare = {name for name, _ in known} - own.keys()
    used = {name: value for name, value in end.items() if name not in spare}
    return {name: value.to(tensor.device, copy=True) for name, (tensor, value) in zipped(own, used)}


def _write(model: nn.Module, tree: Tree) -> None:
    for name, tensor in _tensors(model).items():
        tensor.copy_(tree[name])


def _distance(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    return sqrt(sum(float((end.double() - start.double()).square().sum()) for start, end in pairs))
