"""The numbers of a line and its band: at each place one value for each replicate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from prunus.report.page.content import Style


@dataclass(frozen=True)
class Point:
    """The values of all replicates at `x`, and the run of each; no runs where a value was not measured.

    >>> point = Point(21.1, (98.0, 98.5), ("a", "b"))
    >>> point.low, point.mean, point.high
    (98.0, 98.25, 98.5)
    """

    x: float
    values: tuple[float, ...]
    runs: tuple[str, ...]

    @property
    def measured(self) -> list[tuple[str, float]]:
        """The runs with their values."""
        return list(zip(self.runs, self.values, strict=True)) if self.runs else []

    @property
    def mean(self) -> float:
        """The mean over the replicates."""
        return fmean(self.values)

    @property
    def low(self) -> float:
        """The lowest replicate."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest replicate."""
        return max(self.values)


@dataclass(frozen=True)
class Series:
    """A line by its name, with points in the order in which they are joined."""

    name: str
    style: Style
    points: tuple[Point, ...]


def joined(curves: Sequence[Mapping[float, float]], runs: Sequence[str]) -> tuple[Point, ...]:
    """The points of one line from the `curves` (x to y) of several runs, where all of them have one.

    >>> [(point.x, point.mean) for point in joined([{0: 1.0, 1: 2.0}, {1: 4.0}], ["a", "b"])]
    [(1, 3.0)]
    """
    shared = sorted(set(curves[0]).intersection(*curves[1:]))
    return tuple(Point(x, tuple(curve[x] for curve in curves), tuple(runs)) for x in shared)
