"""The page as text: what is in it, what never gets in, and what is said of a store that is not as it should be."""

import json
import re
import sys
from collections import Counter
from html.parser import HTMLParser

import pytest

from prunus.errors import FormatError, PrunusError
from prunus.report.page import render

from .pieces import Drawn, Task, Trained, keep_charts, keep_connection, keep_table, keep_tickets, made

HOSTILE = "</script><img src=x onerror=alert(1)>{{ 7 * 7 }}<a href='http://127.0.0.1/x'>"


class Elements(HTMLParser):
    """All elements with their attributes, and all text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self._inside = [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.text += data

    def values(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def test_a_store_has_one_page(full, page):
    assert render(full) == page.read_text() == render(full)


def test_every_run_has_a_place_and_every_link_leads_to_one(full, page):
    found = Elements(page.read_text())
    places, links = Counter(found.values("id")), found.values("href")
    assert not [name for name, times in places.items() if times > 1]
    assert {f"run-{run}" for run in full.runs()} <= places.keys()
    assert {link.removeprefix("#") for link in links} <= places.keys()
    assert all(link.startswith("#") for link in links)


def test_every_run_of_a_study_is_linked(full, page):
    linked = {link.removeprefix("#run-") for link in Elements(page.read_text()).values("href")}
    tickets = next(study for study in full.studies() if study["kind"] == "tickets")
    for found in tickets["rounds"]:
        assert linked >= {
            *found["runs"],
            *found["masks"],
            *(run for runs in found["controls"].values() for run in runs),
        }


def test_nothing_is_fetched_from_elsewhere(page):
    found = Elements(page.read_text())
    assert not found.values("src")
    assert "default-src 'none'" in found.values("content")[0].split("; ")
    assert not [tag for tag, _ in found.elements if tag in ("link", "iframe", "object", "embed", "base")]


def test_numbers_are_in_the_tables(page):
    text = Elements(page.read_text()).text
    assert "98.00 (97.88 to 98.00)" not in text
    assert "97.88 (97.75 to 98.00)" in text  # dense: errors 2, 2.125 and 2.25
    assert "97.25 ± 0.125" in text
    assert "0.2917 (0.125 to 0.5)" in text  # of the chart
    assert "1e-08" in text


def test_names_from_the_store_stay_text(store):
    tickets = keep_tickets(store, HOSTILE, note=HOSTILE)
    tickets["rounds"][1]["controls"][HOSTILE] = tickets["rounds"][1]["runs"]
    store.keep_study(tickets | {"title": "other"})
    keep_connection(store, HOSTILE)
    keep_charts(store, HOSTILE)
    keep_table(store, HOSTILE)
    hostile = {"kind": "<b onerror=alert(1)>", "title": HOSTILE}
    (store.path / "studies" / "written-by-hand.json").write_text(json.dumps(hostile))
    made(store, Trained(Drawn(Task(HOSTILE, HOSTILE), 0), 0, 1.0, note=HOSTILE))
    made(store, Drawn(Task(HOSTILE, HOSTILE), 0))
    page = render(store)
    found = Elements(page)
    assert HOSTILE in found.text
    assert not [tag for tag, _ in found.elements if tag == "img"]
    assert not [link for link in found.values("href") if not link.startswith("#")]
    assert not found.values("onerror")
    assert page.count("</script>") == page.count("<script")
    data = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert "<" not in "".join(data)


def test_studies_of_one_title_say_how_they_differ(store):
    keep_tickets(store, rewind="weights")
    keep_tickets(store, rewind="none")
    text = Elements(render(store)).text
    assert "rewind: weights" in text
    assert "rewind: none" in text
    assert "task.model: " not in text


def test_a_kind_that_is_not_known_is_named_and_left_out(store):
    keep_table(store)
    store.keep_study({"kind": "horoscope"})
    found = Elements(render(store))
    assert "does not know the kind: horoscope." in found.text
    assert "study-2" not in found.values("id")


def test_one_replicate_has_no_band(store):
    keep_tickets(store, seeds=(0,))
    page = render(store)
    assert "Lines are single runs." in page
    assert "toself" not in "".join(re.findall(r'<script type="application/json">(.*?)</script>', page))


def test_runs_without_a_study_have_their_lineage(store):
    run = made(store, Drawn(Task(), 0))
    assert f"run-{run}" in Elements(render(store)).values("id")


def test_an_empty_store_is_refused(store):
    with pytest.raises(PrunusError, match="holds no finished run"):
        render(store)


@pytest.mark.parametrize("library", ["plotly.offline", "jinja2"])
def test_missing_libraries_are_named(full, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(PrunusError, match=r"pip install 'prunus\[lab\]'"):
        render(full)


@pytest.mark.parametrize("about", ["{}", "no JSON", '{"finished": "yesterday"}', '{"finished": 5}'])
def test_a_run_that_does_not_say_when_it_was_finished_is_named(store, about):
    run = made(store, Drawn(Task(), 0))
    (store.path / run / "about.json").write_text(about)
    with pytest.raises(FormatError, match=f"{run}/about.json"):
        render(store)


def changed(study, path, value):
    """`study` with another value at `path`."""
    if not path:
        return value
    copy = study.copy()
    copy[path[0]] = changed(study[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize(
    ("keep", "path", "value", "message"),
    [
        (keep_tickets, ["rounds"], [], "rounds is empty"),
        (keep_tickets, ["rounds"], 7, "rounds is 7, expected a list"),
        (keep_tickets, ["rounds", 0, "runs"], [], "runs is empty"),
        (keep_tickets, ["rounds", 0, "runs", 0], "../../secret", "'../../secret' is not in the store"),
        (keep_tickets, ["rounds", 1, "masks", 0], 3, "0 is 3, expected text"),
        (keep_tickets, ["rounds", 2, "round"], float("nan"), "expected a finite number"),
        (keep_tickets, ["rounds", 2, "round"], 10**400, "expected a finite number"),
        (keep_tickets, ["rounds", 1, "controls"], None, "controls is None, expected a table"),
        (keep_connection, ["points"], [], "points is empty"),
        (keep_connection, ["points", 0, "step"], True, "step is True, expected a finite number"),
        (keep_connection, ["points", 0], {"step": 1}, "density is missing"),
        (keep_charts, ["charts"], [], "no run stands behind any line"),
        (keep_charts, ["charts", 0, "lines", 1, "points"], [], "points is empty"),
        (keep_charts, ["charts", 0, "lines", 0, "runs", 1], "elsewhere", "'elsewhere' is not in the store"),
        (
            keep_charts,
            ["charts", 0, "lines", 0, "points", 1, 1],
            [1, 2],
            "has 2 values, expected one for each of 3 runs",
        ),
        (keep_charts, ["charts", 0, "lines", 1, "points", 0], [4], "1 is missing"),
        (keep_charts, ["charts", 0, "lines", 1, "points", 0, 1, 0], "1", "expected a finite number"),
        (keep_charts, ["charts", 0, "x"], 3, "x is 3, expected text"),
        (keep_table, ["rows", 0], [1], "row 0 has 1 cells for 3 columns"),
        (keep_table, ["rows", 0, 1, "spread"], float("inf"), "spread is inf, expected a finite number"),
        (keep_table, ["title"], {}, "title is {}, expected text"),
    ],
)
def test_a_study_that_is_not_as_it_should_be_is_named(store, monkeypatch, keep, path, value, message):
    study = changed(keep(store), path, value)
    monkeypatch.setattr(store, "studies", lambda: [study])
    with pytest.raises(FormatError, match=re.escape(message)):
        render(store)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ('{"steps": 1, "error": NaN}', "error is nan, expected a finite number"),
        ('{"steps": 1, "error": 2.0, "curve": []}', "early_stop is missing"),
    ],
)
def test_a_run_that_is_not_as_it_should_be_is_named(store, metrics, message):
    run = keep_tickets(store)["rounds"][0]["runs"][1]
    (store.path / run / "metrics.json").write_text(metrics)
    with pytest.raises(FormatError, match=f"run {run}: {message}"):
        render(store)
