"""The page of methods says what the docstrings say, and they say what a reader needs."""

import importlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

AIDS = {
    "prunus.score": {
        *("gradient", "momentum", "movement", "small_final", "large_initial", "small_initial"),
        *("large_initial_large_final", "small_initial_small_final", "large_final_same_sign"),
        *("large_final_different_sign", "magnitude_increase", "magnitude_increase_same_sign"),
        "magnitude_increase_different_sign",
    },
    "prunus.layerwise": {"in_order", "layer_errors"},
    "prunus.structured": {"penalty", "proximal", "Reconstruction", "refit_channels", "scales"},
    "prunus.reparametrised": {"Layer", "Method", "Reparametrisation"},
    "prunus.low_rank": {"LowRankConv2d", "LowRankLinear", "LowRankLSTM", "split", "low_rank_like"},
    "prunus.rewiring": {"Rewiring", "rewired"},
    "prunus.supermask": {"Learning", "Start", "Supermask", "bake"},
}
"""What is public and no method of its own: variants of one score, and what methods are made of."""


@pytest.fixture(scope="module")
def writer():
    found = importlib.util.spec_from_file_location("methods", ROOT / "docs" / "methods.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_page_is_that_of_the_docstrings(writer):
    assert writer.PAGE.read_text(encoding="utf-8") == writer.page(), "run `python docs/methods.py`"


def test_every_method_has_its_idea_formula_source_use_and_cost(writer):
    found = {
        name: writer.sections(method)
        for part in writer.PARTS
        for name, method in writer.methods(importlib.import_module(part))
    }
    assert {"score.taylor", "rewiring.rigl", "gradual.Gradual", "ticket.find", "scope.smart_ratio"} <= found.keys()
    lacking = {name: {"Idea", "Formula", "Source", "Use", "Cost"} - texts.keys() for name, texts in found.items()}
    assert {name: labels for name, labels in lacking.items() if labels} == {}


@pytest.mark.parametrize("part", AIDS)
def test_what_is_public_is_a_method_or_known_to_be_none(writer, part):
    others = writer.others(importlib.import_module(part))
    assert {name.rpartition(".")[2] for name, _ in others} == AIDS[part]


def test_a_sentence_begins_large_and_a_formula_as_it_is(writer):
    def method():
        """Idea: a sentence.
        Formula: w' = n^2 w.
        Cost: n^3.
        """

    assert writer.sections(method) == {"Idea": "A sentence.", "Formula": "w' = n^2 w.", "Cost": "n^3."}


def test_sections_end_where_their_paragraph_ends(writer):
    def method():
        """One line.

        Idea: first,
        and second.
        Source: here: there.

        Afterwards.
        """

    assert writer.sections(method) == {"Idea": "First, and second.", "Source": "Here: there."}
