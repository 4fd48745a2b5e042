"""Meet in the middle by buckets: every pair of half sums that may be nearer than the best so far is looked at.

Sums of random items spread out, so a bucket holds few, and the nearest pair is mostly much closer than half a bucket:
two buckets for a sum of the right half are enough then. Where sums crowd in few buckets, this gives up: the sorted
lists have to decide.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.code.compiled import compiled_finite
from prunus.subset_sum.items import load

SPREAD = 8  # buckets a sum
PATIENCE = 8  # pairs and buckets looked at for every half sum, and no more
EMPTY = -1
EXACT = 2.0**40  # buckets: numbers beyond are too coarse to be told apart to a hundredth of a bucket


def memory(sums: int) -> tuple[NDArray[np.signedinteger], NDArray[np.signedinteger]]:
    """Memory for the sums of half of the items, in short integers where they are enough, which stay in the cache."""
    kind = np.int16 if sums < 2**15 else np.int32
    return np.empty(SPREAD * sums + 3, kind), np.empty(sums, kind)


@compiled_finite
def meet(
    targets: Any, items: Any, ways: Any, epsilon: Any, heads: Any, following: Any, used: Any, negated: Any, errors: Any
) -> Any:
    """Write for each target the smallest subset within epsilon, else the nearest; an error below 0 where not known.

    `heads` and `following` are `memory` for the last sum of each bucket, and for the one before each sum.
    """
    n, capacity = items.shape[1], len(following)
    values, places = np.empty(n), np.empty(n, np.int64)
    left, right = np.empty(capacity), np.empty(capacity)
    waiting, sizes = np.empty(capacity, np.int32), np.empty(capacity, np.int8)
    _write_sizes(ways, sizes)
    count, half, many, others, buckets = 0, 0, 1, 1, 0
    low, high, scale, total = 0.0, 0.0, 0.0, 0.0
    for b in range(len(targets)):
        if b == 0 or len(items) > 1:
            count = load(items[b], values, places)
            half = (count + 1) // 2
            many, others = _sums(values[:half], ways, left), _sums(values[half:count], ways, right)
            buckets = SPREAD * many
            low, high = _ends(values[:half], ways)
            scale = buckets / (high - low) if high > low else 0.0
            total = np.abs(values[:count]).sum()
            heads[: buckets + 3] = EMPTY
            for i in range(many):
                bucket = np.uint64((left[i] - low) * scale + 1.0)
                following[i] = heads[bucket]
                heads[bucket] = i
        target = targets[b]
        best, fewest, one, other = abs(target), 0, 0, 0
        patience = PATIENCE * (many + others)
        found = 0
        for j in range(others):  # without a branch
            place = min(max((target - right[j] - low) * scale + 1.0, 0.5), buckets + 2.0)
            bucket = np.uint64(place - 0.5)
            waiting[found] = j
            found += heads[bucket] & heads[bucket + np.uint64(1)] != EMPTY
        for widest in (0.49, 1e300):
            for k in range(found):
                j = waiting[k]
                place = (target - right[j] - low) * scale + 1.0
                window = min(max(best, epsilon) * scale, widest) + 0.01
                start = min(max(place - window, 0.0), buckets + 3.0)
                stop = max(min(place + window, buckets + 2.0), -1.0)
                for near in range(np.int64(start), np.int64(stop) + 1):
                    i = heads[near]
                    patience -= 1
                    while i != EMPTY and patience > 0:
                        gap = abs(left[i] + right[j] - target)
                        if gap < best or gap <= epsilon:
                            size = sizes[i] + sizes[j]
                            if best > epsilon or size < fewest or (size == fewest and gap < best):
                                best, fewest, one, other = gap, size, i, j
                        i = following[i]
                        patience -= 1
                if patience <= 0:
                    break
            if max(best, epsilon) * scale < 0.49 or patience <= 0:
                break
            for k in range(others):
                waiting[k] = k
            found = others
        if patience > 0 and (abs(target) + total) * scale < EXACT:
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
            old, new = sums[:many], sums[(way + 1) * many : (way + 2) * many]
            for i in range(many):
                new[i] = old[i] + signed
        many *= ways + 1
    return many


@compiled_finite
def _write_sizes(ways: Any, sizes: Any) -> Any:
    """How many items each sum has."""
    sizes[0], many = 0, 1
    while many < len(sizes):
        for i in range(many, min(many * (ways + 1), len(sizes))):
            sizes[i] = sizes[i % many] + 1
        many *= ways + 1


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
