"""Whether a method beats chance: the difference within replicates, in its standard errors."""

from dataclasses import dataclass
from math import sqrt

from prunus.recipe.replicates import Difference

_LIMITS = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def limit(replicates: int) -> float:
    """How many standard errors a mean over `replicates` is from zero in one of twenty cases, if by chance alone.

    It is the 97.5 % point of Student's t with one degree of freedom less; of many, by its expansion in 1 / degrees.

    >>> limit(3), round(limit(31), 2)
    (4.303, 2.04)
    """
    degrees = replicates - 1
    if degrees <= len(_LIMITS):
        return _LIMITS[degrees - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


@dataclass(frozen=True)
class Verdict:
    """What `difference`, of a method from chance over so many `replicates`, comes to on a test part of `rows`."""

    difference: Difference
    replicates: int
    rows: int

    @property
    def error(self) -> float:
        """The standard error in points, but no less than rounding to whole rows makes it.

        An accuracy is a count of rows, uniform within half a row: so is a difference by twice that variance.
        """
        return max(self.difference.error, 100 / self.rows / sqrt(6 * self.replicates))

    @property
    def errors(self) -> float:
        """Standard errors between the two."""
        return self.difference.mean / self.error

    @property
    def word(self) -> str:
        """ "better", "worse" or "no better", where the difference is within what chance does to so few replicates."""
        if abs(self.errors) <= limit(self.replicates):
            return "no better"
        return "better" if self.errors > 0 else "worse"

    def __str__(self) -> str:
        if self.word == "no better":
            return "no better than chance"
        return f"{self.word} by {abs(self.errors):.1f} standard errors"
