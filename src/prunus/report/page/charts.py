"""Charts that a recipe put together: the section of the page."""

from prunus.errors import FormatError
from prunus.report.page.archive import Archive, Value
from prunus.report.page.chart import Axis, lines
from prunus.report.page.content import Figure, Section, Style
from prunus.report.page.series import Point, Series
from prunus.report.page.tickets import STYLES
from prunus.report.page.wording import number, over_replicates

_COLOURS = [style.colour for style in STYLES.values()]
_SYMBOLS = [style.symbol for style in STYLES.values()]
_CALCULATED = "6px,3px"


def charts(study: Value, archive: Archive) -> Section:
    """What a study of the kind "charts" holds; lines that no run stands behind are dashed."""
    many = max((len(line.points[0].runs) for chart in study["charts"] for line in _series(chart, archive)), default=0)
    if not many:
        raise FormatError(f"{study.place}: no run stands behind any line of its charts.")
    return Section(
        kind="Charts",
        title=study["title"].text(),
        lead=f"{study['note'].text()} {over_replicates(many)} Dashed lines were not measured.",
        figures=tuple(_figure(chart, archive) for chart in study["charts"]),
    )


def _figure(chart: Value, archive: Archive) -> Figure:
    x = Axis(chart["x"].text(), number, kind="log")
    y = Axis(chart["y"].text(), number, kind="linear" if "y_scale" in chart else "log")
    return lines(chart["title"].text(), chart["note"].text(), x, y, _series(chart, archive), wide=True)


def _series(chart: Value, archive: Archive) -> list[Series]:
    found = []
    for place, line in enumerate(chart["lines"]):
        runs = archive.runs(line["runs"])
        points = tuple(_point(point, runs, archive) for point in line["points"])
        if not points:
            raise FormatError(f"{line.place}: points is empty.")
        dash = "solid" if runs else _CALCULATED
        style = Style(_COLOURS[place % len(_COLOURS)], dash, _SYMBOLS[place % len(_SYMBOLS)])
        found.append(Series(line["name"].text(), style, points))
    return found


def _point(found: Value, runs: tuple[str, ...], archive: Archive) -> Point:
    values = tuple(value.number() for value in found[1])
    runs = archive.runs(found[2]) if len(found.plain) > 2 else runs
    if len(values) != (len(runs) or 1):
        raise FormatError(f"{found.place} has {len(values)} values, expected one for each of {len(runs)} runs, or one.")
    return Point(found[0].number(), values, runs)
