"""Meet in the middle, size by size: the sums of each half, sorted, and two pointers (Horowitz and Sahni 1974).

A half's sums are kept by how many items they have, so the halves of every split of a size meet. A list grows by
merging: list, and list of one item fewer plus the new item; nothing is sorted.
"""

from math import comb
from typing import Any

import numpy as np

from prunus.code.compiled import compiled_finite
from prunus.subset_sum.items import load

HALF = 31  # items; bits of those used below, of those negated above
CHOOSE = np.array([[comb(n, k) for k in range(HALF + 1)] for n in range(HALF + 1)])


def sums_of_half(n: int, most: int, ways: int) -> int:
    """How many sums the larger half of n items has, of at most `most` items, each taken in `ways` ways or left out."""
    half = (n + 1) // 2
    return sum(comb(half, size) * ways**size for size in range(min(half, most) + 1))


@compiled_finite
def improve(
    targets: Any,
    items: Any,
    ways: Any,
    epsilon: Any,
    fewest: Any,
    most: Any,
    capacity: Any,
    used: Any,
    negated: Any,
    errors: Any,
) -> Any:
    """Better what is there, by `fewest` items, then one more up to `most`, until it is within epsilon."""
    n = items.shape[1]
    values, places = np.empty(n), np.empty(n, np.int64)
    left, left_bits = np.empty(capacity), np.empty(capacity, np.int64)
    right, right_bits = np.empty(capacity), np.empty(capacity, np.int64)
    left_starts, right_starts = np.empty(HALF + 2, np.int64), np.empty(HALF + 2, np.int64)
    count, half = 0, 0
    for b in range(len(targets)):
        if b == 0 or len(items) > 1:
            count = load(items[b], values, places)
            half = (count + 1) // 2
            _build(values[:half], ways, most, left, left_bits, left_starts)
            _build(values[half:count], ways, most, right, right_bits, right_starts)
        target, best, one, other = targets[b], errors[b], -1, -1
        for size in range(fewest, min(most, count) + 1):
            for some in range(max(0, size - (count - half)), min(size, half) + 1):
                i, stop = left_starts[some], left_starts[some + 1]
                first, j = right_starts[size - some], right_starts[size - some + 1] - 1
                if left[i] + right[first] - target >= best or target - left[stop - 1] - right[j] >= best:
                    continue
                while i < stop and j >= first:
                    gap = left[i] + right[j] - target
                    if abs(gap) < best:
                        best, one, other = abs(gap), i, j
                    below = gap < 0.0
                    i += below
                    j -= not below
            if best <= epsilon:
                break
        if one >= 0:
            use, negate = 0, 0
            for place in range(half):
                use |= (left_bits[one] >> place & 1) << places[place]
                negate |= (left_bits[one] >> HALF + place & 1) << places[place]
            for place in range(count - half):
                use |= (right_bits[other] >> place & 1) << places[half + place]
                negate |= (right_bits[other] >> HALF + place & 1) << places[half + place]
            used[b], negated[b], errors[b] = use, negate, best


@compiled_finite
def _build(values: Any, ways: Any, most: Any, sums: Any, bits: Any, starts: Any) -> Any:
    """Write the sums of `size` items, ascending, from starts[size] to starts[size + 1], and the bits of their items."""
    most = min(most, len(values))
    starts[0] = 0
    for size in range(most + 1):
        starts[size + 1] = starts[size] + CHOOSE[len(values), size] * ways**size
    sums[0], bits[0] = 0.0, 0
    for item in range(len(values)):
        for size in range(min(item + 1, most), 0, -1):
            have = CHOOSE[item, size] * ways**size
            more = CHOOSE[item, size - 1] * ways ** (size - 1)
            for way in range(ways):
                value = values[item] * (1.0 - 2.0 * way)
                bit = 1 << item | way << HALF + item
                _merge(sums, bits, starts[size], have + way * more, starts[size - 1], more, value, bit)


@compiled_finite
def _merge(sums: Any, bits: Any, start: Any, have: Any, source: Any, more: Any, value: Any, bit: Any) -> Any:
    """The `have` sums from `start` on merged in place with the `more` from `source` on plus `value`, largest first."""
    i, j = start + have - 1, source + more - 1
    while i >= start and j >= source:
        old, new = sums[i], sums[j] + value
        later = new > old
        at = i + j - source + 1
        sums[at] = new if later else old
        bits[at] = bits[j] | bit if later else bits[i]
        j -= later
        i -= not later
    while j >= source:
        at = i + j - source + 1
        sums[at] = sums[j] + value
        bits[at] = bits[j] | bit
        j -= 1
