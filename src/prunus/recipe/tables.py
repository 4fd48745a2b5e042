"""What several ways to train came to, over seeds: one row each, in a study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from prunus.recipe.replicates import keep_cells
from prunus.store import Store


@dataclass(frozen=True)
class Row:
    """One way to train: its figures by name, and the identities of its runs, each with one value a seed."""

    name: str
    figures: Mapping[str, tuple[float, ...]]
    runs: tuple[str, ...]


def keep_table(store: Store, title: str, note: str, rows: Sequence[Row]) -> None:
    """Note the rows as a study that a report shows: means and sample standard deviations."""
    cells = [[row.name, *(_cell(values, row.runs) for values in row.figures.values())] for row in rows]
    keep_cells(store, title, ["", *rows[0].figures], cells, note)


def _cell(values: Sequence[float], runs: Sequence[str]) -> Any:
    if len(set(values)) == 1:
        return values[0]
    return {"mean": fmean(values), "spread": stdev(values), "runs": list(runs)}
