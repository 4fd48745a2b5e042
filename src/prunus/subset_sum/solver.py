"""Which numbers of a list add up to a target: the nearest subset, and the smallest one that is near enough.

Exact for every target, to the rounding of float64: no subset of the items has a smaller error (`closest`), and none of
fewer items is within epsilon (`fewest`). There are as many threads as torch has; how many there are changes no result.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus import draws
from prunus.errors import PrunusError
from prunus.subset_sum import buckets, scans, sorted_sums
from prunus.subset_sum.subsets import Subsets

MOST_ITEMS = 2 * sorted_sums.HALF
MOST_SUMS = 2**22  # of a half, in memory for each thread
ROWS = 4096  # targets that a thread takes at a time, at most
SMALL, SOON = 24, 6  # of more items than SMALL, subsets of SOON are looked for before those of any size

Floats = NDArray[np.float64]
Found = tuple[NDArray[np.int64], NDArray[np.int64], Floats]  # items used, those negated, errors


@dataclass(frozen=True)
class Drawn:
    """n items for each target, uniform on [low, high], drawn when they are needed: see `prunus.draws.uniform`."""

    n: int
    low: float
    high: float
    seed: int
    stream: int = 0

    def rows(self, start: int, stop: int) -> Tensor:  # (stop - start, n)
        """The items of targets `start` to `stop` - 1."""
        shape = (stop - start, self.n)
        return draws.uniform(self.seed, self.stream, shape, self.low, self.high, first=start * self.n)


Items = Tensor | Drawn


def closest(targets: Tensor, items: Items, *, at_most: int | None = None, signed: bool = False) -> Subsets:
    """For each target the subset of its items whose sum is nearest, of `at_most` items where that is given.

    `targets` is (B,), `items` (B, n), or (n,) for all targets alike, or `Drawn`; where `signed`, an item may be
    subtracted too. Items that are zero are never taken, and no item is where that is as near. Raises `PrunusError`
    for numbers that are not finite, shapes that do not fit, and halves with too many sums to hold.

    >>> closest(torch.tensor([0.75]), torch.tensor([0.5, 0.3, 0.2, 1.0])).kept.tolist()
    [[True, False, True, False]]
    """
    n = _size(targets, items)
    most = n if at_most is None else min(at_most, n)
    if most < 0:
        raise PrunusError(f"at_most: found {at_most}, expected a number of items of at least 0.")
    capacity, ways = _capacity(n, most, signed), 1 + signed

    def solve(goals: Floats, numbers: Floats, found: Found) -> None:
        if most == n:
            _meet(goals, numbers, ways, 0.0, *found)
        else:
            found[2][:] = np.abs(goals)
            sorted_sums.improve(goals, numbers, ways, 0.0, 1, most, capacity, *found)

    return _solved(solve, targets, items, n, signed)


def fewest(targets: Tensor, items: Items, epsilon: float, *, signed: bool = False) -> Subsets:
    """For each target the smallest subset whose sum is within epsilon, and of those the nearest.

    Where no subset is, the nearest of all, which `.within(epsilon)` tells. The rest is as in `closest`.

    >>> fewest(torch.tensor([0.75, 0.01]), torch.tensor([0.5, 0.3, 0.2, 1.0]), 0.06).counts.tolist()
    [2, 0]
    """
    n = _size(targets, items)
    if not epsilon >= 0:
        raise PrunusError(f"epsilon: found {epsilon}, expected a number of at least 0.")
    ways = 1 + signed

    def solve(goals: Floats, numbers: Floats, found: Found) -> None:
        scans.scan(goals, numbers, ways, epsilon, *found)
        failed = found[2] > epsilon
        if n > SMALL and failed.any():
            settings = (ways, epsilon, scans.SCANNED + 1, SOON, _capacity(n, SOON, signed))
            _again(failed, sorted_sums.improve, goals, numbers, settings, found)
            failed = found[2] > epsilon
        if failed.any():
            _capacity(n, n, signed)
            _again(failed, _meet, goals, numbers, (ways, epsilon), found)

    return _solved(solve, targets, items, n, signed)


def _meet(goals: Floats, numbers: Floats, ways: int, epsilon: float, *found: NDArray[Any]) -> None:
    """The best subsets of any size: by buckets, and where these are crowded by sorted lists."""
    n, errors = numbers.shape[1], found[2]
    capacity = sorted_sums.sums_of_half(n, n, ways)
    buckets.meet(goals, numbers, ways, epsilon, *buckets.memory(capacity), *found)
    crowded = errors < 0
    errors[crowded] = np.abs(goals[crowded])
    for array in found[:2]:
        array[crowded] = 0
    _again(crowded, sorted_sums.improve, goals, numbers, (ways, epsilon, 1, n, capacity), found)


def _again(
    rows: NDArray[np.bool_],
    solver: Callable[..., object],
    goals: Floats,
    numbers: Floats,
    settings: tuple[object, ...],
    found: Sequence[NDArray[Any]],
) -> None:
    """Let a solver change what was found for some of the rows."""
    if rows.any():
        part = tuple(array[rows] for array in found)
        solver(goals[rows], numbers[rows] if len(numbers) > 1 else numbers, *settings, *part)
        for array, changed in zip(found, part, strict=True):
            array[rows] = changed


def _size(targets: Tensor, items: Items) -> int:
    """Items a target, after checking that targets and items fit together."""
    if targets.ndim != 1:
        raise PrunusError(f"targets: found shape {tuple(targets.shape)}, expected (B,).")
    if isinstance(items, Tensor) and (items.ndim == 0 or items.shape[:-1] not in ((), targets.shape)):
        raise PrunusError(
            f"items: found shape {tuple(items.shape)}, expected ({len(targets)}, n) for as many targets, or (n,)."
        )
    n = items.n if isinstance(items, Drawn) else items.shape[-1]
    if not 1 <= n <= MOST_ITEMS:
        raise PrunusError(f"items: found {n} for a target, expected 1 to {MOST_ITEMS}, as many as fit in 64 bits.")
    return n


def _capacity(n: int, most: int, signed: bool) -> int:
    sums = sorted_sums.sums_of_half(n, most, 1 + signed)
    if sums > MOST_SUMS:
        raise PrunusError(
            f"half of {n} items has {sums:,} sums of at most {most} of them, and {MOST_SUMS:,} is the most that is "
            "held: take fewer items, or a smaller at_most or a larger epsilon."
        )
    return sums


def _solved(
    solve: Callable[[Floats, Floats, Found], None], targets: Tensor, items: Items, n: int, signed: bool
) -> Subsets:
    """What `solve` writes, a stretch of targets after the other, in as many threads as torch has."""
    count = len(targets)
    used, errors = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.float64)
    negated = torch.zeros(count if signed else 0, dtype=torch.int64)
    shared = isinstance(items, Tensor) and items.ndim == 1
    threads = torch.get_num_threads()
    rows = min(ROWS, -(-count // threads)) or 1

    def work(start: int) -> None:
        stop = min(start + rows, count)
        goals = _numbers(targets[start:stop], "targets", start)
        if isinstance(items, Drawn):
            numbers = _numbers(items.rows(start, stop), "items", start)
        else:
            numbers = _numbers(items[None], "items", 0) if shared else _numbers(items[start:stop], "items", start)
        less = negated[start:stop].numpy() if signed else np.zeros(stop - start, np.int64)
        solve(goals, numbers, (used[start:stop].numpy(), less, errors[start:stop].numpy()))

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, range(0, count, rows)):
            pass
    return Subsets(n, used, negated if signed else None, errors)


def _numbers(values: Tensor, name: str, start: int) -> Floats:
    numbers: Floats = values.detach().cpu().double().contiguous().numpy()
    if not np.isfinite(numbers).all():
        place = np.argwhere(~np.isfinite(numbers))[0]
        raise PrunusError(
            f"{name}: found {numbers[tuple(place)]} for target {start + place[0]}, expected finite numbers."
        )
    return numbers
