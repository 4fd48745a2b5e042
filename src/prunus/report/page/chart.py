"""Figures: lines with bands over replicates, and pictures in shades of one colour."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import chain
from math import ceil, floor, log10
from typing import Any, Literal

from torch import Tensor

from prunus.report.page.content import Cell, Figure, Key, Plot, Style, Table
from prunus.report.page.series import Point, Series
from prunus.report.page.wording import several

SHADES = 8  # colours --shade-0 ... of page.css, for what comes in an order
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "triangle-down", "pentagon")
_CROWD = 5  # lines, of which more need fainter bands
_MARKED = 25  # points a line has at most to be drawn with a symbol at each


@dataclass(frozen=True)
class Axis:
    """What an axis measures, how its numbers are written, their unit, and how they are spaced."""

    title: str
    write: Callable[[float], str]
    unit: str = ""
    kind: Literal["linear", "log", "category"] = "linear"
    falling: bool = False

    @property
    def name(self) -> str:
        """The title with the unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def say(self, value: float) -> str:
        """`value` with title and unit."""
        return f"{self.title} {self.write(value)} {self.unit}".rstrip()


@dataclass(frozen=True)
class Zoom:
    """A closer look at the y axis."""

    name: str
    low: float
    high: float


def shaded(place: int, many: int) -> Style:
    """The style of the line at `place` of `many` that come in an order: from one end of the shades to the other."""
    shade = round(place * (SHADES - 1) / max(many - 1, 1))
    return Style(f"--shade-{shade}", symbol=_SYMBOLS[place % len(_SYMBOLS)])


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of `items`, evenly spaced, the first and the last among them.

    >>> spread("abcdefg", 3)
    ['a', 'd', 'g']
    """
    last = len(items) - 1
    places = range(len(items)) if len(items) <= most else [round(k * last / (most - 1)) for k in range(most)]
    return [items[place] for place in places]


def lines(
    title: str,
    caption: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    *,
    level: float | None = None,
    zoom: Zoom | None = None,
    wide: bool = False,
) -> Figure:
    """A line of means for each of `series`, with a band from the lowest to the highest replicate; `level` is dotted.

    Where an axis is logarithmic, points at zero are left out of the plot and named in the caption; they are in the
    table.
    """
    drawn = [replace(line, points=tuple(_drawable(line.points, x, y))) for line in series]
    missing = sum(len(line.points) for line in series) - sum(len(line.points) for line in drawn)
    if missing:
        caption += f" Left out, as a logarithmic axis has no zero: {several(missing, 'point')}; the table has them."
    opacity = 0.16 if len(drawn) <= _CROWD else 0.08
    spec: dict[str, Any] = {
        "data": list(chain.from_iterable(_traces(line, x, y, opacity) for line in reversed(drawn) if line.points)),
        "layout": _layout(x, y, [point for line in drawn for point in line.points], level),
    }
    if zoom:
        spec["zoom"] = [zoom.low, zoom.high]
    return Figure(
        title,
        caption,
        (Plot(f"{title}: {y.title} against {x.title}. The numbers are in the table below.", spec),),
        (_table(x, y, series),),
        tuple(Key(line.name, line.style) for line in series) if len(series) > 1 else (),
        zoom.name if zoom else "",
        wide,
    )


def picture(label: str, caption: Cell, pixels: Tensor, thing: str) -> tuple[Plot, Table]:
    """Whole numbers `pixels` (rows, columns) in shades of one colour up to the highest, and as a table."""
    rows, columns = pixels.shape
    data = {
        "type": "heatmap",
        "z": pixels.tolist(),
        "zmin": 0,
        "zmax": max(int(pixels.max()), 1),
        "colorscale": [[0, "--map-none"], [0.5, "--map-half"], [1, "--map-all"]],
        "showscale": False,
        "hovertemplate": f"row %{{y}}, column %{{x}}: %{{z}} {thing}<extra></extra>",
    }
    hidden = {"visible": False, "constrain": "domain"}
    layout = _theme() | {
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "xaxis": hidden,
        "yaxis": hidden | {"autorange": "reversed", "scaleanchor": "x"},
    }
    table = Table(
        (Cell("row"), *(Cell(str(column)) for column in range(columns))),
        tuple(
            (Cell(str(row)), *(Cell(str(int(pixels[row, column]))) for column in range(columns))) for row in range(rows)
        ),
        caption.text,
    )
    return Plot(label, {"data": [data], "layout": layout}, caption), table


def _drawable(points: Iterable[Point], x: Axis, y: Axis) -> Iterable[Point]:
    return (
        point for point in points if not ((x.kind == "log" and point.x <= 0) or (y.kind == "log" and point.low <= 0))
    )


def _traces(line: Series, x: Axis, y: Axis, opacity: float) -> Iterable[dict[str, Any]]:
    places = [_place(point, x) for point in line.points]
    group = {"legendgroup": line.name, "x": places}
    colour, dash = line.style.colour, line.style.dash
    if any(point.low < point.high for point in line.points):
        yield group | {
            "type": "scatter",
            "x": [*places, *reversed(places)],
            "y": [*(point.low for point in line.points), *(point.high for point in reversed(line.points))],
            "fill": "toself",
            "fillcolor": colour,
            "opacity": opacity,
            "mode": "none",
            "hoverinfo": "skip",
        }
    yield group | {
        "type": "scatter",
        "y": [point.mean for point in line.points],
        "mode": "lines+markers" if len(line.points) <= _MARKED else "lines",
        "line": {"color": colour, "dash": dash, "width": 2},
        "marker": {"color": colour, "symbol": line.style.symbol, "size": 7},
        "customdata": [_picked(line, point, x, y) for point in line.points],
        "hovertext": [_hover(line, point, x, y) for point in line.points],
        "hoverinfo": "text",
    }


def _place(point: Point, x: Axis) -> float | str:
    return x.write(point.x) if x.kind == "category" else point.x


def _picked(line: Series, point: Point, x: Axis, y: Axis) -> dict[str, Any]:
    """What a click on the point shows."""
    runs = [[run, y.write(value)] for run, value in point.measured]
    return {"text": f"{line.name} at {x.say(point.x)}: {y.say(point.mean)}{_range(point, y)}", "runs": runs}


def _hover(line: Series, point: Point, x: Axis, y: Axis) -> str:
    runs = (f"{y.write(value)}  run {run}" for run, value in point.measured)
    head = (f"<b>{escape(line.name)}</b>", x.say(point.x), f"{y.say(point.mean)}{_range(point, y)}")
    return "<br>".join((*head, *runs))


def _range(point: Point, y: Axis) -> str:
    return f" ({y.write(point.low)} to {y.write(point.high)})" if point.low < point.high else ""


def _theme() -> dict[str, Any]:
    return {
        "autosize": True,
        "showlegend": False,
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "--card", "bordercolor": "--edge", "font": {"color": "--ink"}},
        "paper_bgcolor": "--card",
        "plot_bgcolor": "--card",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "--soft"},
    }


def _layout(x: Axis, y: Axis, points: Sequence[Point], level: float | None) -> dict[str, Any]:
    layout = _theme() | {
        "margin": {"l": 58, "r": 12, "t": 10, "b": 46},
        "xaxis": _axis(x, [point.x for point in points]),
        "yaxis": _axis(y, [value for point in points for value in point.values]),
    }
    if level is not None:
        layout["shapes"] = [
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": level,
                "y1": level,
                "line": {"color": "--series-dense", "width": 1, "dash": "dot"},
            }
        ]
    return layout


def _axis(axis: Axis, values: Sequence[float]) -> dict[str, Any]:
    look: dict[str, Any] = {
        "title": {"text": axis.name, "standoff": 8},
        "automargin": True,
        "type": axis.kind,
        "gridcolor": "--grid",
        "linecolor": "--edge",
        "zeroline": False,
        "separatethousands": True,
        "exponentformat": "none",
        "fixedrange": axis.kind == "category",
    }
    if axis.kind == "category":
        look |= {"categoryarray": [axis.write(value) for value in sorted(set(values))], "nticks": 8, "tickangle": 0}
    if axis.kind == "log" and values:
        ticks = _ticks(min(values), max(values))
        look |= {"tickvals": ticks, "ticktext": [f"{tick:.10g}" for tick in ticks]}
    if axis.falling:
        look["autorange"] = "reversed"
    return look


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, a step beyond both ends; only the powers themselves over more than three."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 4 else (1,)
    return [step * 10.0**power for power in powers for step in steps]


def _table(x: Axis, y: Axis, series: Sequence[Series]) -> Table:
    """A row for each x and a column for each line; runs stand with the line's name if they are all points' alike."""
    shared = [_shared_runs(line) for line in series]
    places = sorted({point.x for line in series for point in line.points}, reverse=x.falling)
    rows = (
        (Cell(x.write(place)), *(_cell(line, place, y, runs) for line, runs in zip(series, shared, strict=True)))
        for place in places
    )
    head = (Cell(line.name, runs) for line, runs in zip(series, shared, strict=True))
    return Table((Cell(x.name), *head), tuple(rows), y.name)


def _cell(line: Series, place: float, y: Axis, shared: tuple[str, ...]) -> Cell:
    points = [point for point in line.points if point.x == place]
    text = "; ".join(y.write(point.mean) + _range(point, y) for point in points)
    return Cell(text, () if shared else tuple(run for point in points for run in point.runs))


def _shared_runs(line: Series) -> tuple[str, ...]:
    runs = {point.runs for point in line.points}
    return runs.pop() if len(runs) == 1 and len(line.points) > 1 else ()
