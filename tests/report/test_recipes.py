"""What the recipes leave in a store is what the page reads."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from prunus import laboratory
from prunus.recipe.charts import Chart, Line, keep_charts
from prunus.recipe.connectivity import measure, twins
from prunus.recipe.lottery_ticket import Hunt, hunt_tickets
from prunus.report.curves import draw_charts
from prunus.report.page.archive import Archive, Value
from prunus.report.page.charts import charts
from prunus.report.page.connections import connection
from prunus.report.page.tickets import tickets
from prunus.settings import Settings

from .pieces import Drawn, Task, made

TASK = laboratory.Task.of("lenet-300-100", "digits", start="glorot")
SHORT = Settings(steps=20, batch=60)


def section(store, describe):
    (study,) = store.studies()
    return describe(Value(study, "the study"), Archive(store))


def column(figure, place):
    """The means in a column of a figure's table."""
    cells = (row[place].text for row in figure.tables[0].rows)
    return [float(text.split()[0].replace(",", "")) if text else None for text in cells]


def near(values, digits=2):
    """As far as a table's digits tell."""
    return pytest.approx(values, abs=0.51 * 10**-digits)


@pytest.mark.usefixtures("one_thread")
def test_a_search_for_tickets(store):
    found = hunt_tickets(Hunt(TASK, SHORT, rounds=2, seeds=(0, 1), controls=("reinit",)), store)
    accuracy, step, early, *others, _, pictures = section(store, tickets).figures
    assert column(accuracy, 1) == near([np.mean(one.accuracy) for one in found])
    assert column(accuracy, 2)[0] is None
    assert column(accuracy, 2)[1:] == near([np.mean(one.controls["reinit"]) for one in found[1:]])
    assert column(step, 1) == near([np.mean(one.early_stop_step) for one in found], digits=0)
    assert column(early, 1) == near([np.mean(one.early_stop_accuracy) for one in found])
    assert [figure.title for figure in others] == ["Validation curves"]
    assert [np.shape(plot.spec["data"][0]["z"]) for plot in pictures.plots] == [(8, 8), (8, 8)]


@pytest.mark.usefixtures("one_thread")
def test_twins_and_the_line_between_them(store):
    (found,) = measure([twins(TASK, SHORT, 10, seed=0, points=3)], store)
    instability, test, train = section(store, connection).figures
    assert column(instability, 1) == near([found.barrier])
    assert column(instability, 2) == near([found.barrier_train])
    assert column(test, 1) == near([error for _, _, error in found.path])
    assert column(train, 1) == near([error for _, error, _ in found.path])


def test_charts(store):
    """Every line is where it was put, dashed where no run stands behind it."""
    runs = tuple(made(store, Drawn(Task(), seed)) for seed in (0, 1))
    measured = Line("measured", {0.1: (2.0, 4.0), 0.01: (20.0, 60.0)}, runs)
    proven = Line("proven", {0.1: (7.0,), 0.001: (700.0,)})
    keep_charts(store, "Title", "Lead.", [Chart("One", "Caption.", "epsilon", "weights", (measured, proven))])
    (figure,) = section(store, charts).figures
    assert [row[0].text for row in figure.tables[0].rows] == ["0.001", "0.01", "0.1"]
    assert column(figure, 1) == [None, 40, 3]
    assert column(figure, 2) == [700, None, 7]
    drawn = {
        (trace["legendgroup"], trace["mode"]): (trace["x"], trace["y"], trace.get("line", {}).get("dash"))
        for trace in figure.plots[0].spec["data"]
    }
    assert drawn["measured", "lines+markers"] == ([0.1, 0.01], [3, 40], "solid")
    assert drawn["measured", "none"][:2] == ([0.1, 0.01, 0.01, 0.1], [2, 20, 60, 4])
    assert drawn["proven", "lines+markers"] == ([0.1, 0.001], [7, 700], "6px,3px")
    assert {figure.plots[0].spec["layout"][axis]["type"] for axis in ("xaxis", "yaxis")} == {"log"}


def test_points_with_runs_of_their_own_over_an_axis_that_is_not_logarithmic(store):
    one, other = (made(store, Drawn(Task(), seed)) for seed in (0, 1))
    line = Line("measured", {0.1: (97.0,), 0.01: (90.0,)}, (one,), {0.1: (one,), 0.01: (other,)})
    keep_charts(store, "Title", "Lead.", [Chart("One", "Caption.", "kept", "% right", (line,), "linear")])
    (figure,) = section(store, charts).figures
    assert [cells[1].runs for cells in figure.tables[0].rows] == [(other,), (one,)]
    assert {axis: figure.plots[0].spec["layout"][axis]["type"] for axis in ("xaxis", "yaxis")} == {
        "xaxis": "log",
        "yaxis": "linear",
    }


def test_the_picture_of_charts_has_an_axis_for_each_with_all_lines(tmp_path, monkeypatch):
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *to, **how: (drawn.append(self), save(self, *to, **how)))
    lines = (Line("measured", {0.1: (2.0, 4.0), 0.01: (20.0, 60.0)}, ("a", "b")), Line("proven", {0.1: (7.0,)}))
    draw_charts(tmp_path / "c.png", "Title", [Chart(name, "", "epsilon", "weights", lines) for name in "ABC"])
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 50
    assert [axis.get_title("left") for axis in drawn[0].axes] == ["A", "B", "C"]
    for axis in drawn[0].axes:
        assert axis.get_xscale() == axis.get_yscale() == "log"
        assert [line.get_xydata().tolist() for line in axis.lines] == [[[0.01, 40], [0.1, 3]], [[0.1, 7]]]
        assert [line.get_linestyle() for line in axis.lines] == ["-", "--"]
        assert [text.get_text() for text in axis.get_legend().get_texts()] == ["measured", "proven"]
        (band,) = axis.collections
        assert {tuple(point) for point in band.get_paths()[0].vertices} >= {(0.01, 20), (0.01, 60), (0.1, 2), (0.1, 4)}
