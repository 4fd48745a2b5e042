"""Lines over seeds, beside what was calculated or published: what a report draws of them, in a study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prunus.store import Store


@dataclass(frozen=True)
class Line:
    """Points by x, each with a value for each of `runs`, by their identities; one of no run where none was measured.

    Where every point has runs of its own, `runs_at` names them by x, and `runs` those of any one point.
    """

    name: str
    points: Mapping[float, tuple[float, ...]]
    runs: tuple[str, ...] = ()
    runs_at: Mapping[float, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Chart:
    """Lines over a logarithmic axis, and what the axes are; the upright one is "log" or "linear"."""

    title: str
    note: str
    x: str
    y: str
    lines: tuple[Line, ...]
    y_scale: str = "log"


def keep_charts(store: Store, title: str, note: str, charts: Sequence[Chart]) -> None:
    """Keep a study that reports show as these charts."""
    store.keep_study({"kind": "charts", "title": title, "note": note, "charts": [_plain(chart) for chart in charts]})


def _plain(chart: Chart) -> dict[str, object]:
    about = {"title": chart.title, "note": chart.note, "x": chart.x, "y": chart.y}
    scale = {} if chart.y_scale == "log" else {"y_scale": chart.y_scale}
    return {**about, **scale, "lines": [_plain_line(line) for line in chart.lines]}


def _plain_line(line: Line) -> dict[str, object]:
    points = [
        [x, list(values), *([list(line.runs_at[x])] if line.runs_at else [])] for x, values in line.points.items()
    ]
    return {"name": line.name, "runs": list(line.runs), "points": points}
