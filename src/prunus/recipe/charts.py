"""Lines over seeds, beside what was calculated or published: what a report draws of them, in a study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prunus.store import Store


@dataclass(frozen=True)
class Line:
    """Points by x, each with a value for each of `runs`, by their identities; one of no run where none was measured."""

    name: str
    points: Mapping[float, tuple[float, ...]]
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """Lines over two logarithmic axes, and what the axes are."""

    title: str
    note: str
    x: str
    y: str
    lines: tuple[Line, ...]


def keep_charts(store: Store, title: str, note: str, charts: Sequence[Chart]) -> None:
    """Keep a study that reports show as these charts."""
    store.keep_study({"kind": "charts", "title": title, "note": note, "charts": [_plain(chart) for chart in charts]})


def _plain(chart: Chart) -> dict[str, object]:
    lines = [
        {"name": line.name, "runs": list(line.runs), "points": [[x, list(values)] for x, values in line.points.items()]}
        for line in chart.lines
    ]
    return {"title": chart.title, "note": chart.note, "x": chart.x, "y": chart.y, "lines": lines}
