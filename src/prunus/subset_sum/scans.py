"""No item, one, two or three: all of them looked at, in loops that compilers turn into vectors."""

from typing import Any

import numpy as np

from prunus.code.compiled import compiled_finite
from prunus.subset_sum.loaded import load

SCANNED = 3


@compiled_finite
def scan(targets: Any, items: Any, ways: Any, epsilon: Any, used: Any, negated: Any, errors: Any) -> Any:
    """Write for each target the best of the smallest size that has one within epsilon, or the best of all sizes.

    `items` has a row a target, or one for all; `ways` is 2 where an item may be subtracted too.
    """
    n = items.shape[1]
    values, places = np.empty(n), np.empty(n, np.int64)
    pairs, begins = np.empty(ways * ways * n * (n - 1) // 2), np.empty(n + 1, np.int64)
    loaded, paired = -1, -1  # the rows that `values` and `pairs` hold
    count = 0
    for b in range(len(targets)):
        target, best, use, negate = targets[b], abs(targets[b]), 0, 0
        row = b if len(items) > 1 else 0
        if best > epsilon:
            if row != loaded:
                count, loaded = load(items[row], values, places), row
            for way in range(ways):
                sign = 1.0 - 2.0 * way
                least = _nearest(values, 0, count, sign * target)
                if least < best:
                    best = least
                    use = 1 << places[_where(values, 0, count, sign * target, least)]
                    negate = use * way
        if best > epsilon:
            if row != paired:
                _pair(values, count, ways, pairs, begins)
                paired = row
            least = _nearest(pairs, 0, begins[count], target)
            if least < best:
                best = least
                use, negate = _pair_at(_where(pairs, 0, begins[count], target, least), count, ways, places)
        if best > epsilon:
            for first in range(count - 2):
                for way in range(ways):
                    wanted = target - values[first] * (1.0 - 2.0 * way)
                    least = _nearest(pairs, begins[first + 1], begins[count], wanted)
                    if least < best:
                        best = least
                        at = _where(pairs, begins[first + 1], begins[count], wanted, least)
                        use, negate = _pair_at(at, count, ways, places)
                        use |= 1 << places[first]
                        negate |= way << places[first]
        used[b], negated[b], errors[b] = use, negate, best


@compiled_finite
def _nearest(values: Any, start: Any, stop: Any, wanted: Any) -> Any:
    least = np.inf
    for i in range(start, stop):
        least = min(least, abs(values[i] - wanted))
    return least


@compiled_finite
def _where(values: Any, start: Any, stop: Any, wanted: Any, least: Any) -> Any:
    for i in range(start, stop):
        if abs(values[i] - wanted) == least:
            return i
    return -1


@compiled_finite
def _pair(values: Any, count: Any, ways: Any, pairs: Any, begins: Any) -> Any:
    """Write all sums of two, by first item: those of items `first` on are the ones from begins[first]."""
    at = 0
    for first in range(count):
        begins[first] = at
        for way in range(ways):
            one = values[first] * (1.0 - 2.0 * way)
            for other in range(ways):
                sign = 1.0 - 2.0 * other
                for second in range(first + 1, count):
                    pairs[at] = one + values[second] * sign
                    at += 1
    begins[count] = at


@compiled_finite
def _pair_at(at: Any, count: Any, ways: Any, places: Any) -> Any:
    """The bits used and negated of the sum at `at`."""
    first = 0
    while at >= ways * ways * (count - 1 - first):
        at -= ways * ways * (count - 1 - first)
        first += 1
    signs, second = divmod(at, count - 1 - first)
    way, other = divmod(signs, ways)
    one, two = places[first], places[first + 1 + second]
    return 1 << one | 1 << two, way << one | other << two
