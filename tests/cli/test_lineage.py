"""`prunus lineage`: what came from what, for people and for scripts."""

import json
import shutil
import tomllib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from prunus.cli import run


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The store of a search of two seeds with controls, and what the search told."""
    store, told = tmp_path_factory.mktemp("searched") / "store", StringIO()
    with redirect_stdout(told):
        code = run(
            f"ticket lenet-300-100 --data digits --rounds 2 --steps 5 --batch 60 --store {store} --json "
            "--replicates 2 --controls shuffle,corrupt-labels".split()
        )
    assert code == 0
    return store, json.loads(told.getvalue())


@pytest.fixture
def kept(prunus, searched):
    """That store, in the folder store of a new working folder."""
    store, told = searched
    shutil.copytree(store, "store")
    return told


def specifications():
    """What each folder of the store says of itself, read with nothing of prunus."""
    return {path.parent.name: tomllib.loads(path.read_text()) for path in Path("store").glob("*/specification.toml")}


def refused(outcome, *words):
    assert outcome.code == 2, outcome.out
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1
    for word in words:
        assert word in outcome.err


def test_the_json_names_every_piece_and_its_parents(prunus, kept):
    outcome = prunus("lineage", "store", "--json")
    assert outcome.code == 0, outcome.err
    assert len(outcome.out.splitlines()) == 1
    result = json.loads(outcome.out.splitlines()[-1])
    assert result["store"] == "store"
    pieces = {piece["id"]: piece for piece in result["pieces"]}
    found = specifications()
    assert len(pieces) == len(result["pieces"]) == len(found)
    assert pieces.keys() == found.keys()
    # of a seed: a start, dense, corrupted, 2 masks and tickets, 2 shuffles, 2 corrupted masks, 4 controls
    assert len(pieces) == 2 * (3 + 4 + 2 + 2 + 4)
    for identity, piece in pieces.items():
        assert piece["parents"] == {
            name: value for name, value in found[identity].items() if isinstance(value, str) and value in found
        }
        assert piece["what"]
    tickets = {run for entry in kept["rounds"] for run in entry["ids"]}
    assert tickets <= pieces.keys()
    assert all(pieces[run]["what"].startswith("trained") for run in tickets)


def test_a_ticket_comes_from_its_mask_and_that_from_the_network_before(prunus, kept):
    pieces = {piece["id"]: piece for piece in prunus("lineage", "store", "--json").json["pieces"]}
    for place in range(2):
        dense, first, second = (entry["ids"][place] for entry in kept["rounds"])
        for before, after in ((dense, first), (first, second)):
            mask = pieces[pieces[after]["parents"]["mask"]]
            assert mask["parents"]["trained"] == before
            assert pieces[after]["parents"]["start"] == pieces[dense]["parents"]["start"]


def test_people_see_every_piece_once_below_its_parent(prunus, kept):
    outcome = prunus("lineage", "store")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    rows = {run: [number for number, line in enumerate(lines) if f"* {run}" in line] for run in specifications()}
    assert all(len(numbers) == 1 for numbers in rows.values())
    for piece in prunus("lineage", "store", "--json").json["pieces"]:
        for name in ("trained", "mask"):
            if name in piece["parents"]:
                assert rows[piece["parents"][name]] < rows[piece["id"]]
    roots = [line for line in lines if line.startswith("* ") and "drawn" in line]
    assert len(roots) == 2
    assert all(f"lenet-300-100 for digits, seed {seed}" in "".join(roots) for seed in (0, 1))
    assert sum("(corrupt labels)" in line for line in lines) == 2
    accuracy = kept["rounds"][1]["accuracy"][0]
    assert any(kept["rounds"][1]["id"] in line and f"{accuracy:.2f} % right on test" in line for line in lines)


def test_an_empty_store(prunus, kept):
    Path("bare").mkdir()
    Path("bare/store.json").write_text(Path("store/store.json").read_text())
    assert prunus("lineage", "bare").out == ""
    assert prunus("lineage", "bare", "--json").json == {"store": "bare", "pieces": []}


def test_asking_changes_nothing(prunus, kept):
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    prunus("lineage", "store")
    prunus("lineage", "store", "--json")
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


@pytest.mark.parametrize("json_too", [(), ("--json",)], ids=["text", "json"])
def test_what_is_no_store_is_refused_and_not_made_one(prunus, json_too):
    Path("empty").mkdir()
    Path("folder").mkdir()
    Path("folder/thesis.tex").write_text("mine")
    Path("file").write_text("mine")
    before = sorted(str(path) for path in Path().rglob("*"))
    for name in ("gone", "empty", "folder", "file", "file/inside"):
        refused(prunus("lineage", name, *json_too), f"there is no store in '{name}'")
    assert sorted(str(path) for path in Path().rglob("*")) == before


def test_a_piece_that_was_tampered_with_is_named(prunus, kept):
    run = kept["rounds"][1]["id"]
    path = Path("store") / run / "specification.toml"
    path.write_text(path.read_text().replace("seed = 0", "seed = 9"))
    refused(prunus("lineage", "store"), run, "the specification of another piece")
    path.write_text("seed = ")
    refused(prunus("lineage", "store"), "specification")
    path.unlink()
    assert run not in prunus("lineage", "store").out, "a piece without a specification is none"


def test_measurements_that_were_tampered_with_are_named(prunus, kept):
    run = kept["rounds"][1]["id"]
    (Path("store") / run / "metrics.json").write_text('{"error": ')
    refused(prunus("lineage", "store"), run, "metrics.json is damaged")
