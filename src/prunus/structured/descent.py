"""LASSO by coordinate descent, from a Gram matrix."""

import numpy as np

from prunus.code.compiled import compiled

_SWEEPS = 2000


def lasso(
    gram: np.ndarray, target: np.ndarray, strengths: np.ndarray, start: np.ndarray, tolerance: float
) -> np.ndarray:
    """The b that minimises b A b / 2 - t b + sum_i s_i |b_i| for `gram` A (n, n), `target` t (n,), `strengths` s (n,).

    From `start`, until no optimality condition is violated by more than `tolerance`: t - A b is s_i sign b_i where b_i
    is not 0, and within s_i elsewhere; or for 2000 sweeps. Source: Friedman et al. 2010, "Regularization paths for
    generalized linear models via coordinate descent", section 2.2. All arrays are float64.
    """
    found = start.copy()
    _descend(gram, target - gram @ found, strengths, found, tolerance, _SWEEPS)
    return found


def support(gram: np.ndarray, target: np.ndarray, free: np.ndarray, count: int) -> np.ndarray:
    """Which `count` variables a LASSO keeps besides the `free` (n,) ones, bool (n,), its strength raised until so few.

    Free variables are not penalised and always kept. Where the path leaps over the count, what would enter next
    completes it.
    """
    chosen, found = free.copy(), np.zeros(len(target))
    if count == 0:
        return chosen
    low, high = 0.0, 2 * float(np.abs(target).max(initial=0.0))
    tolerance = 1e-7 * high
    slopes = np.abs(target)
    for _ in range(60):
        strength = (low + high) / 2
        found = lasso(gram, target, np.where(free, 0.0, strength), found, tolerance)
        kept = free | (found != 0)
        if kept.sum() - free.sum() > count:
            low = strength
            continue
        high, chosen, slopes = strength, kept, np.abs(target - gram @ found)
        if kept.sum() - free.sum() == count:
            break
    missing = count - int(chosen.sum() - free.sum())
    slopes[chosen] = -np.inf
    chosen[np.argsort(-slopes, kind="stable")[:missing]] = True
    return chosen


@compiled
def _descend(
    gram: np.ndarray, rest: np.ndarray, strengths: np.ndarray, found: np.ndarray, tolerance: float, sweeps: int
) -> None:
    # `rest` is t - A b throughout
    for _ in range(sweeps):
        worst = 0.0
        for i in range(len(found)):
            strength, old = strengths[i], found[i]
            if old > 0:
                violation = abs(rest[i] - strength)
            elif old < 0:
                violation = abs(rest[i] + strength)
            else:
                violation = max(abs(rest[i]) - strength, 0.0)
            worst = max(worst, violation)
            if gram[i, i] > 0 and violation > 0:
                pull = rest[i] + gram[i, i] * old
                new = max(abs(pull) - strength, 0.0) / gram[i, i]
                if pull < 0:
                    new = -new
                if new != old:
                    found[i] = new
                    for j in range(len(found)):
                        rest[j] -= gram[i, j] * (new - old)
        if worst <= tolerance:
            return
