"""The density at an optimizer step: functions that return `step -> density`."""

from collections.abc import Callable
from math import cos, pi

from prunus.errors import PrunusError
from prunus.mask import check_density

Schedule = Callable[[int], float]


def constant(density: float) -> Schedule:
    """The same density at every step."""
    check_density(density)
    return lambda step: density


def cubic(final: float, *, begin: int, end: int, initial: float = 1.0) -> Schedule:
    """`initial` until step `begin`, `final` from step `end` on, falling steeply first and gently last.

    Source: Zhu & Gupta 2017, "To prune, or not to prune", eq. 1, written for density = 1 - sparsity:
    d = d_f + (d_i - d_f) (1 - (t - t_0) / (t_1 - t_0))^3.

    >>> [round(cubic(0.1, begin=0, end=4)(step), 3) for step in range(6)]
    [1.0, 0.48, 0.213, 0.114, 0.1, 0.1]
    """
    return _between(initial, final, begin, end, lambda part: final + (initial - final) * (1 - part) ** 3)


def geometric(final: float, *, begin: int, end: int, initial: float = 1.0) -> Schedule:
    """Falling by the same factor every step: d_i (d_f / d_i)^part, as iterated pruning rounds do."""
    return _between(initial, final, begin, end, lambda part: initial * (final / initial) ** part)


def cosine(final: float, *, begin: int, end: int, initial: float = 1.0) -> Schedule:
    """Half a cosine from `initial` to `final`: gentle at both ends."""
    return _between(initial, final, begin, end, lambda part: final + (initial - final) * (1 + cos(pi * part)) / 2)


def rounds(final: float, count: int, *, initial: float = 1.0) -> list[float]:
    """The densities after each of `count` rounds that keep the same part: d_i (d_f / d_i)^(k/n) for k from 1 to n.

    Source: Tanaka et al. 2020, algorithm 1, for SynFlow with 100 rounds; `pruning.iterate` goes along it.

    >>> [round(density, 3) for density in rounds(0.1, 4)]
    [0.562, 0.316, 0.178, 0.1]
    """
    if count < 1:
        raise PrunusError(f"pruning takes one round or more, found {count}.")
    density = geometric(final, begin=0, end=count, initial=initial)
    return [density(number) for number in range(1, count + 1)]


def _between(initial: float, final: float, begin: int, end: int, density: Callable[[float], float]) -> Schedule:
    check_density(initial)
    check_density(final)
    if not 0 <= begin < end:
        raise PrunusError(f"a schedule runs from step 0 <= begin < end, found begin {begin}, end {end}.")

    def at(step: int) -> float:
        if step <= begin:
            return initial
        if step >= end:
            return final
        return density((step - begin) / (end - begin))

    return at
