"""What a piece is: everything that decides it is in its identity, and nothing else."""

import hashlib
import importlib
import json
from collections import Counter
from dataclasses import field, make_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prunus.errors import PrunusError
from prunus.store import Outcome, identity, specification
from prunus.store.identity import parents

from .pieces import Detail, Number, Pair, Rich

MODULE = importlib.import_module("prunus.store.identity")  # whose name its function `identity` has taken

OTHERS: dict[str, list[Any]] = {
    "name": ["b", "", "A", "a "],
    "count": [0, 2, -1, True, 1.0],
    "rate": [1, 1.0000000000000002, -1.0, True],
    "sure": [False, 1, 1.0, "true"],
    "pairs": [(), (("fc3.weight", 0.8),), (("fc3.weight", 0.9), ("fc3.weight", 0.9)), ("fc3.weight", 0.9)],
    "detail": [Detail(0.25), Detail(0.5, 1), Detail(0.5, 0)],
    "parent": [Number(2), Pair(), None, Pair(Number(1))],
    "other": [Number(1), Rich(), False, 0, ""],
    "several": [(Number(3), Number(2)), (Number(2),), (Number(2), Number(3), Number(3)), ()],
}


def test_the_table_of_changes_is_complete() -> None:
    assert {*OTHERS, "place"} == set(Rich.__dataclass_fields__)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in OTHERS for value in OTHERS[name]], ids=str)
def test_every_field_counts(name: str, value: Any) -> None:
    assert identity(replace(Rich(), **{name: value})) != identity(Rich())


def test_all_those_differ_from_each_other() -> None:
    changed = [replace(Rich(), **{name: value}) for name, values in OTHERS.items() for value in values]
    assert not [run for run, times in Counter(map(identity, changed)).items() if times > 1]


def test_equal_content_is_one_identity() -> None:
    assert identity(Rich()) == identity(Rich(parent=Number(1), detail=Detail(), several=(Number(2), Number(3))))
    assert identity(Rich()) == identity(Rich(several=[Number(2), Number(3)], pairs=[["fc3.weight", 0.9]]))  # type: ignore[arg-type]
    assert identity(Rich(place="there")) == identity(Rich())


def test_a_default_counts_as_its_value_does() -> None:
    def kind(default: int) -> Any:
        fields = [("a", int), ("b", int, field(default=default))]
        return make_dataclass("Same", fields, frozen=True, eq=False, namespace={"make": lambda self, bench: Outcome()})

    assert identity(kind(1)(a=0)) == identity(kind(2)(a=0, b=1)) != identity(kind(2)(a=0))


def test_the_class_counts() -> None:
    def kind(name: str) -> Any:
        return make_dataclass(name, [("a", int)], frozen=True, eq=False, namespace={"make": lambda self, bench: None})

    assert identity(kind("One")(1)) != identity(kind("Two")(1))


@pytest.mark.parametrize("name", ["prunus", "torch"])
def test_versions_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, chain = identity(Number()), identity(Pair(Number()))
    monkeypatch.setitem(MODULE._VERSIONS, name, "0.0.1")
    assert identity(Number()) != before
    assert identity(Pair(Number())) != chain
    assert identity(Pair(Number())) != identity(Pair())


def test_a_grandparent_counts() -> None:
    assert identity(Pair(Pair(Pair(Number(1))))) != identity(Pair(Pair(Pair(Number(2)))))
    assert identity(Pair(Number(1), Number(2))) != identity(Pair(Number(2), Number(1)))


def test_the_specification_and_its_hash() -> None:
    """Oracle: written by hand."""
    rich = Rich(other=None, detail=Detail(0.25))
    expected = {
        "kind": "Rich",
        "versions": MODULE._VERSIONS,
        "name": "a",
        "count": 1,
        "rate": 1.0,
        "sure": True,
        "pairs": [["fc3.weight", 0.9]],
        "detail": {"rate": 0.25},
        "parent": identity(Number(1)),
        "several": [identity(Number(2)), identity(Number(3))],
    }
    assert specification(rich) == expected
    text = json.dumps(expected, sort_keys=True, separators=(",", ":"))
    assert identity(rich) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_parents_are_all_pieces_that_are_named() -> None:
    first, second, third, fourth = Number(1), Number(1), Number(3), Pair()
    assert list(parents(Rich(parent=first, other=second, several=(third, fourth)))) == [first, second, third, fourth]
    inner = make_dataclass("Inner", [("piece", Any)], frozen=True)(first)
    assert list(parents(Pair(inner, second))) == [first, second]
    assert list(parents(Number())) == []
    assert list(parents(Pair(Pair(first)))) != [first]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        ("\ud800", r"'\\ud800'"),
        (Path("a"), "a PosixPath"),
        ({"a": 1}, "a dict"),
        ({1}, "a set"),
        (b"a", "a bytes"),
        (np.float64(1.0), r"np.float64\(1.0\)"),
        (np.int64(1), "a int64"),
        (Enum("Colour", "RED").RED, "a Colour"),
        (len, "a builtin_function_or_method"),
        ((1, None), "a NoneType"),
        ((1, (2.0, float("nan"))), "nan"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_not_plain_is_refused(value: Any, found: str) -> None:
    with pytest.raises(PrunusError, match=f"^first is {found}, which a specification cannot hold.$"):
        identity(Pair(value))
    with pytest.raises(PrunusError, match=f"^rate is {found}, which"):
        identity(Pair(Detail(rate=value)))


@pytest.mark.parametrize("name", ["kind", "versions"])
def test_a_field_cannot_hide_the_kind_or_the_versions(name: str) -> None:
    kind = make_dataclass("Sly", [(name, str)], frozen=True, eq=False, namespace={"make": lambda self, bench: None})
    with pytest.raises(PrunusError, match=f"Sly has a field '{name}'"):
        identity(kind("Drawn"))


def test_equal_pieces_of_other_types_are_told_apart() -> None:
    """A piece that is compared by content: Python holds 1, 1.0 and True to be equal."""
    kind = make_dataclass("Compared", [("value", Any)], frozen=True, namespace={"make": lambda self, bench: None})
    pieces = [kind(value) for value in (1, 1.0, True)]
    assert pieces[0] == pieces[1] == pieces[2]
    assert len(set(map(identity, pieces))) == 3


def test_a_long_chain_whose_links_are_named_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece is looked at once, or this would take 2^300 steps; recursion would end at some hundred links."""
    asked: Counter[int] = Counter()
    written = MODULE.specification

    def counted(piece: Any) -> dict[str, Any]:
        asked[id(piece)] += 1
        return written(piece)  # type: ignore[no-any-return]

    monkeypatch.setattr(MODULE, "specification", counted)
    chain = [Pair(Number(0), Number(0))]
    for _ in range(600):
        chain.append(Pair(chain[-1], chain[-1]))
    runs = {identity(chain[-1])}
    runs.update(map(identity, chain))
    assert len(runs) == 601
    assert len(asked) == 603
    assert set(asked.values()) == {1}


def test_what_is_known_of_a_piece_goes_with_it() -> None:
    piece = Pair(Number(41), Number(42))
    identity(piece)
    objects = {id(piece), id(piece.first), id(piece.second)}
    assert objects <= MODULE._identities.keys()
    del piece
    assert objects.isdisjoint(MODULE._identities)
