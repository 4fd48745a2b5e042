"""What the replicates of runs came to: means and their spread, differences and their error, a table of both."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from prunus.errors import PrunusError
from prunus.laboratory import Trained
from prunus.store import Piece, Store, identity

Lines = Mapping[str, Sequence[Trained]]
"""The runs of one replicate: by name, one in each column of a table."""


@dataclass(frozen=True)
class Measured:
    """Percent right on the test part at the end of training, and the run, of each replicate."""

    accuracy: tuple[float, ...]
    runs: tuple[str, ...]

    @property
    def mean(self) -> float:
        """The mean over the replicates."""
        return fmean(self.accuracy)

    @property
    def deviation(self) -> float:
        """The standard deviation of what the replicates are drawn from."""
        return stdev(self.accuracy)

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.deviation:.2f}"


@dataclass(frozen=True)
class Difference:
    """The mean of what differs within each replicate, in percentage points, and the standard error of that mean."""

    mean: float
    error: float


def check_replicates(seeds: Sequence[int]) -> None:
    """Raise `PrunusError` where there are too few for a spread."""
    if len(seeds) < 2:
        raise PrunusError(f"a spread takes two seeds at least, found {list(seeds)}.")


def every_run(replicates: Sequence[Lines]) -> Iterator[Piece]:
    """All runs of all replicates."""
    for lines in replicates:
        for runs in lines.values():
            yield from runs


def measured(store: Store, replicates: Sequence[Lines]) -> dict[str, tuple[Measured, ...]]:
    """The lines of a table, each place over all replicates; the runs have to be in the store."""
    return {
        name: tuple(_measured(store, runs) for runs in zip(*(lines[name] for lines in replicates), strict=True))
        for name in replicates[0]
    }


def difference(first: Sequence[Measured], second: Sequence[Measured]) -> Difference:
    """The mean of `first` less that of `second`, replicate by replicate: those of one seed share weights and order.

    >>> first, second = Measured((97.0, 98.0), ("a", "b")), Measured((96.0, 96.0), ("c", "d"))
    >>> difference([first], [second])
    Difference(mean=1.5, error=0.5)
    """
    values = [a - b for a, b in zip(_by_replicate(first), _by_replicate(second), strict=True)]
    return Difference(fmean(values), stdev(values) / sqrt(len(values)))


def keep_table(
    store: Store, title: str, columns: Sequence[str], lines: Mapping[str, Sequence[Measured]], note: str
) -> None:
    """Keep a study that reports show as a table: a row for each name, means with their deviations."""
    cells = {
        name: [{"mean": one.mean, "spread": one.deviation, "runs": list(one.runs)} for one in line]
        for name, line in lines.items()
    }
    keep_cells(store, title, columns, [[name, *line] for name, line in cells.items()], note)


def keep_cells(store: Store, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str) -> None:
    """Keep a study that reports show as a table of these cells."""
    store.keep_study(
        {"kind": "table", "title": title, "note": note, "columns": list(columns), "rows": [list(row) for row in rows]}
    )


def _measured(store: Store, runs: Sequence[Trained]) -> Measured:
    return Measured(tuple(100 - store.metrics(run)["error"] for run in runs), tuple(map(identity, runs)))


def _by_replicate(line: Sequence[Measured]) -> list[float]:
    return [fmean(values) for values in zip(*(one.accuracy for one in line), strict=True)]
