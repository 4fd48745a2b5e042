"""No item, one, two, three or four: all of them looked at, in loops that compilers turn into vectors."""

from typing import Any

import numpy as np

from prunus.code.compiled import compiled_finite
from prunus.subset_sum.items import load

SCANNED = 4


@compiled_finite
def scan(targets: Any, items: Any, ways: Any, epsilon: Any, used: Any, negated: Any, errors: Any) -> Any:
    """Write for each target the best of the smallest size that has one within epsilon, or the best of all sizes.

    `items` has a row a target, or one for all; `ways` is 2 where an item may be subtracted too.
    """
    n = items.shape[1]
    values, places = np.empty(n), np.empty(n, np.int64)
    pairs, begins = np.empty(ways * ways * n * (n - 1) // 2), np.empty(n + 1, np.int64)
    seconds = np.empty(len(pairs), np.int64)
    loaded, paired = -1, -1  # the rows that `values` and `pairs` hold
    count = 0
    for b in range(len(targets)):
        target, best, use, negate = targets[b], abs(targets[b]), 0, 0
        row = b if len(items) > 1 else 0
        if best > epsilon:
            if row != loaded:
                count, loaded = load(items[row], values, places), row
            for way in range(ways):
                wanted = target * (1.0 - 2.0 * way)
                least = _nearest(values[:count], wanted)
                if least < best:
                    best = least
                    use = 1 << places[_where(values[:count], wanted, least)]
                    negate = use * way
        if best > epsilon:
            if row != paired:
                _pair(values[:count], ways, pairs, begins, seconds)
                paired = row
            least = _nearest(pairs[: begins[count]], target)
            if least < best:
                best = least
                use, negate = _pair_at(_where(pairs[: begins[count]], target, least), ways, places[:count])
        if best > epsilon:
            for first in range(count - 2):
                rest = pairs[begins[first + 1] : begins[count]]
                for way in range(ways):
                    wanted = target - values[first] * (1.0 - 2.0 * way)
                    least = _nearest(rest, wanted)
                    if least < best:
                        best = least
                        at = begins[first + 1] + _where(rest, wanted, least)
                        use, negate = _pair_at(at, ways, places[:count])
                        use, negate = use | 1 << places[first], negate | way << places[first]
        if best > epsilon:
            for lead in range(begins[count]):
                rest = pairs[begins[seconds[lead] + 1] : begins[count]]
                wanted = target - pairs[lead]
                least = _nearest(rest, wanted)
                if least < best:
                    best = least
                    at = begins[seconds[lead] + 1] + _where(rest, wanted, least)
                    use, negate = _pair_at(at, ways, places[:count])
                    more, less = _pair_at(lead, ways, places[:count])
                    use, negate = use | more, negate | less
        used[b], negated[b], errors[b] = use, negate, best


@compiled_finite
def _nearest(values: Any, wanted: Any) -> Any:
    """The least distance, found as an integer: the bits of positive numbers are in their order, and make vectors."""
    least = np.float64(np.inf).view(np.int64)
    for i in range(len(values)):
        least = min(least, np.float64(abs(values[i] - wanted)).view(np.int64))
    return np.int64(least).view(np.float64)


@compiled_finite
def _where(values: Any, wanted: Any, least: Any) -> Any:
    for i in range(len(values)):
        if abs(values[i] - wanted) == least:
            return i
    return -1


@compiled_finite
def _pair(values: Any, ways: Any, pairs: Any, begins: Any, seconds: Any) -> Any:
    """Write all sums of two, and their second items, by first item: those of items `first` on from begins[first]."""
    at = 0
    for first in range(len(values)):
        begins[first] = at
        others = values[first + 1 :]
        for way in range(ways):
            one = values[first] * (1.0 - 2.0 * way)
            for other in range(ways):
                sign = 1.0 - 2.0 * other
                row, places = pairs[at : at + len(others)], seconds[at : at + len(others)]
                for i in range(len(others)):
                    row[i] = one + others[i] * sign
                    places[i] = first + 1 + i
                at += len(others)
    begins[len(values)] = at


@compiled_finite
def _pair_at(at: Any, ways: Any, places: Any) -> Any:
    """The bits used and negated of the sum at `at`."""
    first, count = 0, len(places)
    while at >= ways * ways * (count - 1 - first):
        at -= ways * ways * (count - 1 - first)
        first += 1
    signs, second = divmod(at, count - 1 - first)
    way, other = divmod(signs, ways)
    one, two = places[first], places[first + 1 + second]
    return 1 << one | 1 << two, way << one | other << two
