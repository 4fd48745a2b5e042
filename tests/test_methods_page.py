"""The page of methods says what the docstrings say, and they say what a reader needs."""

import importlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def writer():
    found = importlib.util.spec_from_file_location("methods", ROOT / "docs" / "methods.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_page_is_that_of_the_docstrings(writer):
    assert writer.PAGE.read_text(encoding="utf-8") == writer.page(), "run `python docs/methods.py`"


def test_every_method_has_its_idea_source_use_and_cost(writer):
    found = {
        name: writer.sections(method)
        for part in writer.PARTS
        for name, method in writer.methods(importlib.import_module(part))
    }
    assert {"score.taylor", "rewiring.rigl", "gradual.Gradual", "ticket.find", "scope.smart_ratio"} <= found.keys()
    lacking = {name: {"Idea", "Source", "Use", "Cost"} - texts.keys() for name, texts in found.items()}
    assert {name: labels for name, labels in lacking.items() if labels} == {}


def test_sections_end_where_their_paragraph_ends(writer):
    def method():
        """One line.

        Idea: first,
        and second.
        Source: here: there.

        Afterwards.
        """

    assert writer.sections(method) == {"Idea": "First, and second.", "Source": "Here: there."}
