"""One picture of a recipe's charts: lines over seeds with their bands, beside what was calculated or published."""

from collections.abc import Sequence
from itertools import cycle, product
from pathlib import Path

from prunus.errors import PrunusError
from prunus.files import written_whole
from prunus.recipe.charts import Chart, Line
from prunus.report.picture import GRID, INK

COLOURS = ("#275cf7", "#d47212", "#669b7c", "#7902b1", "#805c09", "#518dd3", "#634542", "#ae3b84")
MARKERS = ("o", "s", "^")


def draw_charts(path: Path, title: str, charts: Sequence[Chart]) -> None:
    """Write a PNG to `path`, the charts side by side; lines that no run stands behind are dashed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PrunusError("pictures need matplotlib: pip install 'prunus[lab]'.") from error

    figure = Figure(figsize=(6.4 * len(charts), 6.6), layout="constrained")
    figure.suptitle(title, fontsize=15, color=INK, x=0.01, ha="left")
    for axis, chart in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts, strict=True):
        looks = cycle(product(MARKERS, COLOURS))
        for line, (marker, colour) in zip(chart.lines, looks, strict=False):
            _draw(axis, line, colour, marker)
        axis.set(xscale="log", yscale=chart.y_scale, xlabel=chart.x, ylabel=chart.y)
        axis.set_title(chart.title, loc="left", color=INK)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False, labelcolor=INK)
        axis.grid(color=GRID)
        axis.set_axisbelow(True)
        axis.tick_params(colors=INK, which="both", length=0)
        axis.spines[["top", "right", "left"]].set_visible(False)
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _draw(axis, line: Line, colour: str, marker: str) -> None:  # type: ignore[no-untyped-def]
    places = sorted(line.points)
    values = [line.points[x] for x in places]
    means = [sum(some) / len(some) for some in values]
    if line.runs:
        axis.fill_between(
            places, [min(some) for some in values], [max(some) for some in values], color=colour, alpha=0.2
        )
    marker = marker if line.runs or len(places) == 1 else ""
    axis.plot(places, means, "-" if line.runs else "--", color=colour, marker=marker, markersize=4, label=line.name)
