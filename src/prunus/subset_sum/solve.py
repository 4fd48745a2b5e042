"""Which numbers of a list add up to a target: the nearest subset, and the smallest one that is near enough.

Exact for every target: no subset of the items has a smaller error (`closest`), and none of fewer items is within
epsilon (`fewest`). Sums are taken in float64, item after item. Threads are torch's; how many changes no result.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
ROWS = 4096  # targets that a thread takes at a time
SOON = 6  # items, beyond which the lists of all sizes are made

Floats = NDArray[np.float64]
Bits = NDArray[np.int64]


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

    def solve(goals: Floats, numbers: Floats, used: Bits, negated: Bits, errors: Floats) -> None:
        errors[:] = -1.0
        if most == n:
            buckets.meet(goals, numbers, ways, capacity, used, negated, errors)
        open_ = np.flatnonzero(errors < 0)
        errors[open_] = np.abs(goals[open_])
        _improve(open_, goals, numbers, ways, 0.0, 1, most, used, negated, errors)

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

    def solve(goals: Floats, numbers: Floats, used: Bits, negated: Bits, errors: Floats) -> None:
        scans.scan(goals, numbers, ways, epsilon, used, negated, errors)
        for first, most in ((scans.SCANNED + 1, SOON), (SOON + 1, n)):
            open_ = np.flatnonzero(errors > epsilon)
            if first <= n and len(open_):
                _capacity(n, most, signed)
                _improve(open_, goals, numbers, ways, epsilon, first, min(most, n), used, negated, errors)

    return _solved(solve, targets, items, n, signed)


def _improve(
    open_: Bits,
    goals: Floats,
    numbers: Floats,
    ways: int,
    epsilon: float,
    first: int,
    most: int,
    used: Bits,
    negated: Bits,
    errors: Floats,
) -> None:
    """Better the rows `open_`."""
    if not len(open_):
        return
    some = numbers[open_] if len(numbers) > 1 else numbers
    found = used[open_], negated[open_], errors[open_]
    capacity = sorted_sums.sums_of_half(numbers.shape[1], most, ways)
    sorted_sums.improve(goals[open_], some, ways, epsilon, first, most, capacity, *found)
    used[open_], negated[open_], errors[open_] = found


def _size(targets: Tensor, items: Items) -> int:
    """Items a target, after checking that targets and items fit together."""
    if targets.ndim != 1:
        raise PrunusError(f"targets: found shape {tuple(targets.shape)}, expected (B,).")
    if isinstance(items, Tensor) and (items.ndim == 0 or items.shape[:-1] not in ((), targets.shape)):
        raise PrunusError(
            f"items: found shape {tuple(items.shape)}, expected (n,), or ({len(targets)}, n) for {len(targets)} targets."
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
    solve: Callable[[Floats, Floats, Bits, Bits, Floats], None], targets: Tensor, items: Items, n: int, signed: bool
) -> Subsets:
    """What `solve` writes, a stretch of targets after the other, in as many threads as torch has."""
    count = len(targets)
    used, errors = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.float64)
    negated = torch.zeros(count if signed else 0, dtype=torch.int64)
    shared = items.ndim == 1 if isinstance(items, Tensor) else False

    def work(start: int) -> None:
        stop = min(start + ROWS, count)
        goals = _numbers(targets[start:stop], "targets", start)
        drawn = items.rows(start, stop) if isinstance(items, Drawn) else items[None] if shared else items[start:stop]
        numbers = _numbers(drawn, "items", 0 if shared else start)
        less = negated[start:stop].numpy() if signed else np.zeros(stop - start, np.int64)
        solve(goals, numbers, used[start:stop].numpy(), less, errors[start:stop].numpy())

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for _ in pool.map(work, range(0, count, ROWS)):
            pass
    return Subsets(n, used, negated if signed else None, errors)


def _numbers(values: Tensor, name: str, start: int) -> Floats:
    numbers: Floats = values.detach().cpu().double().numpy()
    if not np.isfinite(numbers).all():
        place = np.argwhere(~np.isfinite(numbers))[0]
        raise PrunusError(
            f"{name}: found {numbers[tuple(place)]} for target {start + place[0]}, expected finite numbers."
        )
    return numbers
