"""What several ways to train came to, over seeds: one row each, in a study, or in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from prunus.store import Store


@dataclass(frozen=True)
class Row:
    """One way to train: its figures by name, and the identities of its runs, each with one value a seed."""

    name: str
    figures: Mapping[str, tuple[float, ...]]
    runs: tuple[str, ...]


def keep_table(store: Store, title: str, note: str, rows: Sequence[Row]) -> None:
    """Note the rows as a study that a report shows: means and sample standard deviations."""
    columns = ["", *rows[0].figures]
    cells = [[row.name, *(_cell(values, row.runs) for values in row.figures.values())] for row in rows]
    store.keep_study({"kind": "table", "title": title, "note": note, "columns": columns, "rows": cells})


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table: mean +- sample standard deviation.

    >>> print(markdown([Row("dense", {"accuracy": (98.0, 98.5)}, ()), Row("ticket", {"accuracy": (97.0, 97.0)}, ())]))
    |  | accuracy |
    |---|---|
    | dense | 98.25 +- 0.35 |
    | ticket | 97 |
    """
    lines = [["", *rows[0].figures], *([row.name, *map(_text, row.figures.values())] for row in rows)]
    head, *body = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


def _cell(values: Sequence[float], runs: Sequence[str]) -> Any:
    if len(set(values)) == 1:
        return values[0]
    return {"mean": fmean(values), "spread": stdev(values), "runs": list(runs)}


def _text(values: Sequence[float]) -> str:
    if len(set(values)) == 1:
        return f"{values[0]:,.6g}"
    digits = 0 if fmean(values) > 1000 else 2
    return f"{fmean(values):,.{digits}f} +- {stdev(values):.{digits}f}"
