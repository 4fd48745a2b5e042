"""Meet in the middle by buckets: every pair of half sums closer to the target than half a bucket is looked at.

Sums of random items spread out, so a bucket holds few and the nearest pair is much closer than half a bucket: then it
is the nearest of all. Where it is not, or buckets are crowded, nothing is written and the sorted lists have to decide.
"""

from typing import Any

import numpy as np

from prunus.code.compiled import compiled_finite
from prunus.subset_sum.loaded import load

SPREAD = 8  # buckets a sum
PATIENCE = 8  # pairs looked at for every half sum, and no more
EXACT = 2.0**40  # buckets: numbers beyond are too coarse to be told apart to a hundredth of a bucket


@compiled_finite
def meet(targets: Any, items: Any, ways: Any, capacity: Any, used: Any, negated: Any, errors: Any) -> Any:
    """Write for each target the subset nearest to it; an error below 0 where that is not known."""
    n = items.shape[1]
    values, places = np.empty(n), np.empty(n, np.int64)
    left, right = np.empty(capacity), np.empty(capacity)
    following, heads = np.empty(capacity, np.int32), np.empty(SPREAD * capacity + 3, np.int32)
    count, half, many, others, buckets = 0, 0, 1, 1, 0
    low, high, scale, size = 0.0, 0.0, 0.0, 0.0
    for b in range(len(targets)):
        if b == 0 or len(items) > 1:
            count = load(items[b], values, places)
            half = (count + 1) // 2
            many, others = _sums(values[:half], ways, left), _sums(values[half:count], ways, right)
            buckets = SPREAD * many
            low, high = _ends(values[:half], ways)
            scale = buckets / (high - low) if high > low else 0.0
            size = np.abs(values[:count]).sum()
            heads[: buckets + 3] = -1
            for i in range(many):
                bucket = np.int64((left[i] - low) * scale) + 1
                following[i] = heads[bucket]
                heads[bucket] = i
        target = targets[b]
        best, one, other = abs(target), 0, 0
        patience = PATIENCE * (many + others)
        for j in range(others):
            place = (target - right[j] - low) * scale + 1.5
            if place >= 1.0 and place < buckets + 3.0:
                bucket = np.int64(place)
                for near in range(bucket - 1, bucket + 1):
                    i = heads[near]
                    while i >= 0:
                        gap = abs(left[i] + right[j] - target)
                        if gap < best:
                            best, one, other = gap, i, j
                        i = following[i]
                        patience -= 1
                        if patience < 0:
                            i = -1
        if patience >= 0 and best * scale < 0.49 and (abs(target) + size) * scale < EXACT:
            use, negate = _bits(one, places[:half], ways)
            more, less = _bits(other, places[half:count], ways)
            used[b], negated[b], errors[b] = use | more, negate | less, best
        else:
            errors[b] = -1.0


@compiled_finite
def _sums(values: Any, ways: Any, sums: Any) -> Any:
    """Write the sums of all subsets, the one at i of the items that are not 0 in i to base `ways` + 1; how many."""
    sums[0], many = 0.0, 1
    for value in values:
        for way in range(ways):
            signed = value * (1.0 - 2.0 * way)
            for i in range(many):
                sums[(way + 1) * many + i] = sums[i] + signed
        many *= ways + 1
    return many


@compiled_finite
def _ends(values: Any, ways: Any) -> Any:
    """The least and the greatest sum."""
    low, high = 0.0, 0.0
    for value in values:
        low += min(value, -value * (ways - 1), 0.0)
        high += max(value, -value * (ways - 1), 0.0)
    return low, high


@compiled_finite
def _bits(index: Any, places: Any, ways: Any) -> Any:
    use, negate = 0, 0
    for place in places:
        index, digit = divmod(index, ways + 1)
        use |= (1 if digit else 0) << place
        negate |= (1 if digit == 2 else 0) << place
    return use, negate
