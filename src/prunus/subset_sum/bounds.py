"""How many random numbers the theorems ask for, and how few can do: all for items uniform on [-1, 1].

Items of [-a, a] for targets of [-a/2, a/2] need what is said here for epsilon / a.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, comb, exp, log, log1p, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from prunus.code.compiled import compiled_finite
from prunus.errors import PrunusError


def failure(n: int, epsilon: float) -> float:
    """A bound on the chance that some target of [-1/2, 1/2] has no subset of n items within epsilon of it.

    The way of Lueker 1998 and da Cunha et al. 2023 ("Revisiting the random subset sum problem"), with constants that
    hold as they stand. Let v be the share of [-1/2, 1/2] within epsilon/2 of a sum; v is at least epsilon to begin
    with, no item more than doubles it, and the next one adds v (1 - v) / 2 or more in expectation. So log2 v grows by
    a number of [0, 1] with mean at least 1/4 until v is 1/2 (Azuma and Hoeffding: the first term), and what is left
    shrinks to 3/4 in expectation from then on; once it is below epsilon/2, all targets are within epsilon (Markov:
    the second term). The items are shared out between the two in the best way.

    >>> failure(60, 0.1) < 0.1, failure(10, 0.001)
    (True, 1.0)
    """
    _positive(epsilon)
    needed = max(log2(1 / (2 * epsilon)), 0.0)
    best = 1.0
    for growing in range(n + 1):
        ahead = growing / 4 - needed
        if ahead > 0 or needed == 0:
            late = exp(-2 * ahead**2 / growing) if needed > 0 else 0.0
            best = min(best, late + 0.75 ** (n - growing) / epsilon)
    return best


def items_needed(epsilon: float, delta: float) -> int:
    """The fewest items for which `failure` is at most delta: 6.4 log2(1 / epsilon) and lower terms."""
    _positive(epsilon, delta)
    high = 1
    while failure(high, epsilon) > delta:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if failure(middle, epsilon) > delta else (low, middle)
    return high


def lueker_failure(n: int, epsilon: float, constant: float) -> float:
    """The same chance in the words of Lueker 1998, Theorem 2.4: exp(-(n/2 - C ln(2 / epsilon))^2 / (2 n)).

    Holds from n/2 = C ln(2 / epsilon) on, and is 1 before. The theorem says that there is a constant C, not which.
    """
    _positive(epsilon)
    ahead = n / 2 - constant * log(2 / epsilon)
    return exp(-(ahead**2) / (2 * n)) if ahead > 0 else 1.0


def net_items(epsilon: float, delta: float) -> int:
    """Items of which one alone is within epsilon of any one target of [-1, 1], but for a chance of delta.

    An item is with probability epsilon/2 at least, reached at the ends. Malach et al. 2020, Lemma A.1, for one factor.

    >>> net_items(0.01, 0.01)
    919
    """
    _positive(epsilon, delta)
    return _tries(epsilon / 2, delta)


def net_pairs(epsilon: float, delta: float) -> int:
    """The same for products of two items, the first within epsilon/2 of the target and the second of 1.

    A pair is with probability epsilon^2 / 16 at least: Malach et al. 2020, whose networks have two layers for one.
    """
    _positive(epsilon, delta)
    return _tries(epsilon**2 / 16, delta)


def pensia_widths(widths: Sequence[int], epsilon: float, delta: float, constant: float = 3.0) -> list[int]:
    """Hidden units that Pensia et al. 2020, Theorem 1, puts before each layer of a network of `widths`.

    C d log2(d d' l / min(epsilon, delta)) for a layer from d to d' units, one of l. The theorem says that there is a
    constant C; 3 is the one of its authors' experiment, which takes 3 log2(1 / epsilon) items a weight.
    """
    _positive(epsilon, delta)
    layers = len(widths) - 1
    return [ceil(constant * d * log2(d * after * layers / min(epsilon, delta))) for d, after in pairwise(widths)]


def packing_weights(weights: int, epsilon: float) -> float:
    """Random weights without which masks cannot reach every network of `weights` weights with norm at most 1.

    In any norm the unit ball has (1 / 2 epsilon)^weights points further apart than 2 epsilon, each needs a mask of its
    own, and m random weights have 2^m: m >= weights log2(1 / (2 epsilon)). Pensia et al. 2020, Theorem 2.
    """
    _positive(epsilon)
    return weights * max(log2(1 / (2 * epsilon)), 0.0)


def items_floor(span: float, epsilon: float) -> int:
    """Items without which their 2^n sums cannot be within epsilon of all targets of an interval as long as `span`."""
    _positive(epsilon)
    return max(ceil(log2(span / (2 * epsilon))), 0)


def kept_floor(targets: Tensor, n: int, epsilon: float, success: float = 1.0) -> float:
    """Items a target that any choice keeps on average at least, whatever distribution the n items come from.

    Subsets of at most k items are within epsilon of what 1 + n + ... + C(n, k) intervals of 2 epsilon hold, and no
    intervals hold more than the best placed ones; that of no item is around 0. Where a share `success` of the targets
    is reached, the others count as keeping nothing. Holds in expectation where every target has items of its own, and
    always where they share them.
    """
    _positive(epsilon)
    values = np.sort(targets.detach().double().reshape(-1).cpu().numpy())
    starts = np.searchsorted(values, values - 2 * epsilon * (1 + 1e-9))  # of the interval that ends at each target
    reached = success * len(values)
    floor, within = max(reached - float((np.abs(values) <= epsilon).sum()), 0.0), 1
    for k in range(1, n):
        within += comb(n, k)
        missed = reached - _held(starts, within)
        if missed <= 0:
            break
        floor += missed
    return floor / max(len(values), 1)


def _held(starts: NDArray[np.int64], intervals: int) -> float:
    """An upper bound on how many targets that many intervals hold: the least over prices of an interval."""
    low, high = 0.0, float(len(starts))
    for _ in range(30):
        price = (low + high) / 2
        _, used = _best(starts, price)
        low, high = (price, high) if used > intervals else (low, price)
    return min(float(_best(starts, price)[0]) + price * intervals for price in (low, high))


@compiled_finite
def _best(starts: Any, price: Any) -> Any:
    """The most that targets held are worth less what the intervals cost, and how many intervals that takes."""
    worth, used = np.zeros(len(starts) + 1), np.zeros(len(starts) + 1, np.int64)
    for i in range(len(starts)):
        start = starts[i]
        gain = worth[start] + (i + 1 - start) - price
        if gain > worth[i]:
            worth[i + 1], used[i + 1] = gain, used[start] + 1
        else:
            worth[i + 1], used[i + 1] = worth[i], used[i]
    return worth[-1], used[-1]


def _tries(chance: float, delta: float) -> int:
    return ceil(log(delta) / log1p(-chance))


def _positive(epsilon: float, delta: float = 0.5) -> None:
    if not 0 < epsilon < 1:
        raise PrunusError(f"epsilon: found {epsilon}, expected a number above 0 and below 1.")
    if not 0 < delta < 1:
        raise PrunusError(f"delta: found {delta}, expected a probability above 0 and below 1.")
