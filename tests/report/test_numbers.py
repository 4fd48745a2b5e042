"""What is drawn, against the plainest way to count it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunus.report.page.chart import Axis, lines, spread
from prunus.report.page.content import Style
from prunus.report.page.pixels import pixel_map
from prunus.report.page.series import Point, Series, joined

values = st.floats(-1e6, 1e6)
AXIS = Axis("x", str)
POSITIVE = Axis("y", str, kind="log")


@st.composite
def replicates(draw):
    """A line of several replicates as an array (points, replicates)."""
    shape = draw(st.tuples(st.integers(1, 8), st.integers(1, 5)))
    return np.array([[draw(values) for _ in range(shape[1])] for _ in range(shape[0])])


def series(table, name="line"):
    runs = tuple(f"run{place}" for place in range(table.shape[1]))
    points = (Point(float(x), tuple(map(float, row)), runs) for x, row in enumerate(table))
    return Series(name, Style("--series-ticket"), tuple(points))


def traces(figure):
    return figure.plots[0].spec["data"]


@given(replicates())
def test_lines_are_means(table):
    line = traces(lines("", "", AXIS, AXIS, [series(table)]))[-1]
    np.testing.assert_allclose(line["y"], table.mean(axis=1), rtol=1e-12, atol=1e-9)


@given(replicates())
def test_bands_go_there_along_the_lowest_and_back_along_the_highest(table):
    drawn = traces(lines("", "", AXIS, AXIS, [series(table)]))
    low, high = np.sort(table, axis=1)[:, [0, -1]].T
    if (low == high).all():
        assert [trace["mode"] for trace in drawn] == ["lines+markers"]
        return
    band, _ = drawn
    there, back = np.split(np.column_stack([band["x"], band["y"]]), 2)
    np.testing.assert_array_equal(there[:, 1], low)
    np.testing.assert_array_equal(back[::-1, 1], high)
    np.testing.assert_array_equal(there[:, 0], back[::-1, 0])


@given(replicates())
def test_every_point_names_the_run_of_each_value(table):
    line = traces(lines("", "", AXIS, AXIS, [series(table)]))[-1]
    named = [[(run, float(value)) for run, value in point["runs"]] for point in line["customdata"]]
    assert named == [[(f"run{place}", value) for place, value in enumerate(row)] for row in table.tolist()]


def test_names_are_no_markup_beside_a_point():
    (line,) = traces(lines("", "", AXIS, AXIS, [series(np.ones((1, 1)), "<a href='x'>&</a>")]))
    assert line["hovertext"][0].startswith("<b>&lt;a href=&#x27;x&#x27;&gt;&amp;&lt;/a&gt;</b><br>")


@given(st.lists(st.dictionaries(st.integers(0, 9), values), min_size=1, max_size=4))
def test_joined_points_are_those_that_all_runs_have(curves):
    points = joined(curves, [str(place) for place in range(len(curves))])
    expected = [(x, tuple(curve[x] for curve in curves)) for x in range(10) if all(x in curve for curve in curves)]
    assert [(point.x, point.values) for point in points] == expected


def test_zeros_are_in_the_table_of_a_logarithmic_plot_and_named_above_it():
    figure = lines("", "Caption.", AXIS, POSITIVE, [series(np.array([[0.5], [0.0], [0.25]]))])
    (line,) = traces(figure)
    assert line["y"] == [0.5, 0.25]
    assert "no zero: 1 point;" in figure.caption
    assert [row[1].text for row in figure.tables[0].rows] == ["0.5", "0.0", "0.25"]


@given(st.floats(1e-6, 1e6), st.floats(1, 1e6))
def test_ticks_of_a_logarithmic_axis_enclose_its_values(low, factor):
    figure = lines("", "", AXIS, POSITIVE, [series(np.array([[low], [low * factor]]))])
    ticks = figure.plots[0].spec["layout"]["yaxis"]["tickvals"]
    assert ticks == sorted(ticks)
    assert ticks[0] <= low * (1 + 1e-9)
    assert ticks[-1] * (1 + 1e-9) >= low * factor
    assert all(str(tick)[0] in "125" for tick in map("{:e}".format, ticks))


@given(st.integers(1, 60), st.integers(2, 9))
def test_spread_items_are_even_and_reach_both_ends(many, most):
    found = spread(range(many), most)
    gaps = np.diff(found)
    assert (found[0], found[-1], len(found)) == (0, many - 1, min(many, most))
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(("channels", "side"), [(1, 2), (1, 5), (3, 4)])
def test_a_pixel_map_counts_what_leaves_each_pixel(channels, side):
    generator = torch.Generator().manual_seed(channels)
    kept = torch.rand(7, channels * side * side, generator=generator) < 0.4
    counted = [[0] * side for _ in range(side)]
    for unit in range(7):
        for pixel in range(channels * side * side):
            row, column = divmod(pixel % (side * side), side)
            counted[row][column] += int(kept[unit, pixel])
    assert pixel_map(kept).tolist() == counted


@pytest.mark.parametrize("shape", [(6, 1), (6, 8), (6, 15), (8, 1, 3, 3)])
def test_there_is_no_pixel_map_without_a_square_picture(shape):
    side = math.isqrt(shape[-1])
    assert side * side != shape[-1] or side == 1 or len(shape) != 2
    assert pixel_map(torch.ones(shape, dtype=torch.bool)) is None
