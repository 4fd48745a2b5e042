"""All subsets at once: every row of a matrix of -1, 0 and 1 is one."""

import functools
import itertools

import numpy as np


@functools.cache
def choices(n, signed):
    return np.array(list(itertools.product((0, 1, -1) if signed else (0, 1), repeat=n)), np.int8)


def every(items, signed=False):
    """Sums and sizes of all subsets of the items that are not zero, and how far rounding may go."""
    items = np.array([item for item in items if item != 0], np.float64)
    rows = choices(len(items), signed)
    return rows @ items, np.abs(rows).sum(1), 1e-12 * (np.abs(items).sum() + 1e-30)


def check(found, targets, items, *, epsilon=None, at_most=None, signed=False):
    """That subsets found are what they say, and that none is better."""
    targets, items = targets.double().numpy(), items.double().expand(len(targets), -1).numpy()
    kept, signs, errors = found.kept.numpy(), found.signs.numpy(), found.errors.numpy()
    assert ((signs != 0) == kept).all()
    assert found.counts.tolist() == kept.sum(1).tolist()
    assert signed or (signs >= 0).all()
    assert not (kept & (items == 0)).any()
    for b, target in enumerate(targets):
        sums, sizes, rounding = every(items[b], signed)
        gaps, rounding = np.abs(sums - target), rounding + 1e-12 * abs(target)
        size, error = kept[b].sum(), errors[b]
        assert abs(abs(signs[b] @ items[b] - target) - error) <= rounding
        if epsilon is None:
            allowed = sizes <= (len(items[b]) if at_most is None else at_most)
            assert size <= max(sizes[allowed])
            assert abs(error - gaps[allowed].min()) <= rounding
        elif gaps.min() > epsilon + rounding:
            assert abs(error - gaps.min()) <= rounding
        elif gaps.min() <= epsilon - rounding:
            smallest = sizes[gaps <= epsilon + rounding].min(), sizes[gaps <= epsilon - rounding].min()
            assert error <= epsilon
            assert smallest[0] <= size <= smallest[1]
            assert error <= gaps[sizes == size].min() + rounding
