"""The page as a browser shows it: drawn, quiet, alone, legible, on a phone and in the dark."""

import numpy as np

from prunus.report.page import render, write_page

from .pieces import CONTROLS, SIDE, keep_charts, keep_connection, keep_table, keep_tickets
from .test_page import HOSTILE

FIRST = "document.querySelector('figure')"
COLOURS = "[...document.querySelectorAll('.js-line')].map((line) => line.style.stroke)"
PICTURES = """
Promise.all([...document.querySelectorAll(".heatmaplayer image")].map(async (element) => {
  const plot = element.closest(".plot");
  const [rows, columns] = [plot.data[0].z.length, plot.data[0].z[0].length];
  const image = new Image();
  image.src = element.getAttribute("href") ?? element.getAttribute("xlink:href");
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns * 10, rows * 10];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const shade = (row, column) => {
    const [red, green, blue] = context.getImageData(10 * column + 5, 10 * row + 5, 1, 1).data;
    return red + green + blue;
  };
  return plot.data[0].z.map((line, row) => line.map((_, column) => shade(row, column)));
}))
"""
CONTRASTS = """
(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = channels(getComputedStyle(element).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const [text, element] = [walker.currentNode.data.trim(), walker.currentNode.parentElement];
    if (!text || element.closest("script, style") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const colours = [channels(element.closest("svg") ? style.fill : style.color), behind(element)];
    const [low, high] = colours.map(luminance).sort((a, b) => a - b);
    found.push([(high + 0.05) / (low + 0.05), text]);
  }
  return found;
})()
"""


def check_legible(tab):
    """All text, that of the plots too, has a contrast of 4.5 at least (WCAG 2.2, 1.4.3)."""
    contrasts = tab.run(CONTRASTS)
    texts = {text for _, text in contrasts}
    assert {"Accuracy", "density, %", "Settings", "reinit"} <= texts
    assert [found for found in contrasts if found[0] < 4.5] == []


def test_it_is_quiet_and_asks_for_nothing_but_itself(shown, page):
    assert shown.complaints() == []
    assert shown.requests() == [page.resolve().as_uri()]


def test_complaints_are_heard(tab, tmp_path):
    (tmp_path / "bad.html").write_text(
        '<script>console.error("one")</script><script>throw Error("two")</script><img src="http://127.0.0.1:1/three">'
    )
    tab.open(tmp_path / "bad.html")
    heard = " ".join(tab.complaints())
    assert "one" in heard
    assert "two" in heard
    assert "http://127.0.0.1:1/three" in tab.requests()


def test_the_browser_refuses_what_the_page_does_not_bring(tab, store, tmp_path):
    keep_table(store)
    opened = render(store).replace("<main>", '<main><img src="http://127.0.0.1:1/x" onerror="window.bad = 1">', 1)
    (tmp_path / "opened.html").write_text(opened)
    tab.open(tmp_path / "opened.html")
    assert "img-src data: blob:" in " ".join(tab.complaints())
    assert tab.run("window.bad === undefined && window.Plotly !== undefined")


def test_every_line_band_point_and_picture_is_drawn(shown):
    drawn = shown.run("""
        [...document.querySelectorAll("figure")].map((figure) => [
          figure.querySelector("h3").textContent,
          [...figure.querySelectorAll(".js-line")].filter((line) => line.getTotalLength() > 50).length,
          [...figure.querySelectorAll(".js-fill")].filter((band) => band.getBBox().height > 0).length,
          figure.querySelectorAll(".points path").length,
          figure.querySelectorAll(".heatmaplayer image").length,
        ])
    """)
    lines, rounds = 1 + len(CONTROLS), 4
    points = rounds + len(CONTROLS) * (rounds - 1)
    kinds = [(density, split) for density in ("dense", "25 %") for split in ("test", "train")]
    assert drawn == [
        ["Accuracy", lines, lines, points, 0],
        ["Early-stopping step", lines, lines, points, 0],
        ["Accuracy at the early-stopping step", lines, lines, points, 0],
        ["Validation curves", rounds, rounds, 5 * rounds, 0],
        ["Density of each layer", 2, 0, 2 * (rounds - 1), 0],
        ["What the first layer looks at", 0, 0, 0, rounds - 1],
        ["Instability", 4, 4, 12, 0],
        *(["Paths on " + split + ", " + density, 3, 3, 15, 0] for density, split in kinds),
        ["Error against items", 2, 1, 5, 0],
    ]


def test_points_lie_where_the_numbers_say(shown):
    """Across, densities fall from left to right, spaced as their logarithms; upwards, accuracies as they are."""
    places, points = shown.run("""
        (() => {
          const plot = document.querySelector(".plot");
          const ticket = plot._fullData.findLast((trace) => trace.legendgroup === "ticket");
          const marks = [...[...plot.querySelectorAll(".trace")].at(-1).querySelectorAll(".points path")];
          const boxes = marks.map((mark) => mark.getBoundingClientRect());
          return [boxes.map((box) => [box.x, box.y]), [...ticket.x].map((x, place) => [x, ticket.y[place]])];
        })()
    """)
    (across, down), (densities, accuracies) = np.array(places).T, np.array(points).T
    assert list(across) == sorted(across)
    for place, number in ((across, np.log(densities)), (down, accuracies)):
        slope, start = np.polyfit(number, place, 1)
        assert slope < 0
        np.testing.assert_allclose(place, slope * number + start, atol=0.5)


def test_pictures_are_darker_where_more_is_kept(shown):
    numbers = shown.run('[...document.querySelectorAll(".pictures .plot")].map((plot) => plot.data[0].z)')
    assert np.shape(numbers) == (3, SIDE, SIDE)
    for kept, light in zip(np.array(numbers), np.array(shown.run(PICTURES)), strict=True):
        order = np.argsort(kept, axis=None)
        assert (np.sign(np.diff(light.flat[order])) == -np.sign(np.diff(kept.flat[order]))).all()


def test_light_is_legible(shown):
    check_legible(shown)


def test_a_phone_in_the_dark_shows_everything_and_scrolls_one_way_only(tab, store, tmp_path):
    keep_tickets(store, HOSTILE + "w" * 200, note="w" * 300)
    keep_connection(store)
    keep_charts(store, "w" * 200)
    keep_table(store, "w" * 200)
    write_page(store, tmp_path / "page.html")
    tab.look(width=360, dark=True, touch=True)
    tab.open(tmp_path / "page.html")
    tab.run("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    assert tab.run("[innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    wide = "[...document.querySelectorAll('.main-svg')].filter((svg) => svg.getBoundingClientRect().right > 360).length"
    assert tab.run(wide) == 0
    assert tab.run("[...document.querySelectorAll('.single .plot')].every((plot) => plot.clientHeight >= 250)")
    assert tab.run("[...document.querySelectorAll('.xtick text')].every((t) => parseFloat(t.style.fontSize) >= 11)")
    check_legible(tab)
    assert tab.complaints() == []


def test_a_finger_on_a_plot_scrolls_the_page(tab, page):
    tab.look(width=360, height=700, touch=True)
    tab.open(page)
    tab.run(f"{FIRST}.scrollIntoView()")
    before = tab.run("scrollY")
    tab.swipe(f"{FIRST}.querySelector('.nsewdrag')", 200)
    assert tab.run("scrollY") - before > 100


def test_plots_follow_when_dark_comes_and_goes(shown):
    light = shown.run(COLOURS)
    shown.look(dark=True)
    dark = shown.run(COLOURS)
    shown.look()
    assert shown.run(COLOURS) == light
    assert not [pair for pair in zip(light, dark, strict=True) if pair[0] == pair[1]]


def test_a_reader_can_hide_zoom_and_trace_a_point_to_its_runs(tab, page, full):
    tab.look(height=1000)
    tab.open(page)
    tab.run(f"{FIRST}.querySelector('[data-series=reinit]').click()")
    assert tab.run(f"{FIRST}.querySelectorAll('.js-line').length") == len(CONTROLS)
    tab.run(f"{FIRST}.querySelector('.zoom').click()")
    low, high = tab.run(f"{FIRST}.querySelector('.plot')._fullLayout.yaxis.range")
    assert 96.9 < low < 97  # the worst ticket has 97 %, the best 98 %
    assert 98 < high < 98.1

    tickets = next(study for study in full.studies() if study["kind"] == "tickets")
    tab.run(f"{FIRST}.scrollIntoView()")
    tab.click(f"[...[...{FIRST}.querySelectorAll('.trace')].at(-1).querySelectorAll('.points path')][2]")
    assert tab.run(f"{FIRST}.querySelector('.hovertext').textContent").startswith("ticket")
    said = tab.run(f"{FIRST}.querySelector('.picked').textContent")
    assert said.startswith("ticket at density 48.3 %: accuracy 97.38 % (97.25 to 97.50)")
    links = tab.run(f"[...{FIRST}.querySelectorAll('.picked a')].map((link) => link.hash)")
    assert links == [f"#run-{run}" for run in tickets["rounds"][2]["runs"]]

    tab.run(f"{FIRST}.querySelector('.picked a').click()")
    tab.settle()
    shown = tab.run("(({ top, bottom }) => [top, bottom])(document.querySelector(':target').getBoundingClientRect())")
    assert 0 < shown[0] < shown[1] < 1000
    assert tab.run("location.hash") == links[0]
