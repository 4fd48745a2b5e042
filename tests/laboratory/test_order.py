"""What is missing, and what goes first: against closures and longest chains found by brute force."""

import importlib
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunus.laboratory.order import made, missing
from prunus.store import Bench, Outcome, Piece, identity

ORDER = importlib.import_module("prunus.laboratory.order")


@dataclass(frozen=True, eq=False)
class Node:
    number: int
    parents: tuple[Piece, ...] = ()

    def make(self, bench: Bench) -> Outcome:
        return Outcome()


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Nodes that name some of those before them, some more than once, some as copies that are equal."""
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 12))):
        chosen = draw(st.lists(st.sampled_from(nodes), max_size=4)) if nodes else []
        nodes.append(Node(number, tuple(replace(one) if draw(st.booleans()) else one for one in chosen)))
    return nodes


def numbers(pieces: Iterable[Any]) -> list[int]:
    return [piece.number for piece in pieces]


def closure(asked: Iterable[Node], there: set[int]) -> set[int]:
    """All that is to be made, by looking again and again until nothing new turns up."""
    found: dict[int, Node] = {node.number: node for node in asked if node.number not in there}
    while True:
        more = {one.number: one for node in found.values() for one in node.parents if one.number not in there}  # type: ignore[attr-defined]
        if more.keys() <= found.keys():
            return set(found)
        found |= more


class Kept:
    """A store that holds some nodes."""

    def __init__(self, nodes: list[Node], there: set[int]) -> None:
        self.runs = {identity(nodes[number]) for number in there}

    def __contains__(self, piece: Piece) -> bool:
        return identity(piece) in self.runs


@given(graphs(), st.data())
def test_what_is_missing_is_the_closure_each_once_parents_first(nodes: list[Node], data: st.DataObject) -> None:
    there = data.draw(st.sets(st.sampled_from(range(len(nodes)))))
    asked = data.draw(st.lists(st.sampled_from(nodes), max_size=6))
    found = missing(Kept(nodes, there), [replace(node) for node in asked])  # type: ignore[arg-type]
    assert len(set(numbers(found))) == len(found)
    assert set(numbers(found)) == closure(asked, there)
    for place, node in enumerate(found):
        before = there | set(numbers(found[:place]))
        assert {parent.number for parent in node.parents} <= before  # type: ignore[attr-defined]


def test_in_the_order_in_which_they_are_asked_for() -> None:
    first, second = Node(1), Node(2)
    both = Node(3, (second, first))
    assert numbers(missing(Kept([], set()), [both, Node(4), first])) == [2, 1, 3, 4]  # type: ignore[arg-type]
    assert numbers(missing(Kept([], set()), [first, both])) == [1, 2, 3]  # type: ignore[arg-type]
    assert missing(Kept([], set()), []) == []  # type: ignore[arg-type]


def test_a_long_chain_is_no_recursion() -> None:
    chain = [Node(0)]
    for number in range(1, 1500):
        chain.append(Node(number, (chain[-1], chain[-1])))
    assert numbers(missing(Kept([], set()), [chain[-1]])) == list(range(1500))  # type: ignore[arg-type]


def chain_lengths(nodes: list[Node]) -> dict[int, int]:
    """The longest way from each node to one that nobody waits for, over all ways."""
    children = {node.number: [other for other in nodes if node.number in numbers(other.parents)] for node in nodes}

    def length(number: int) -> int:
        return 1 + max((length(child.number) for child in children[number]), default=0)

    return {node.number: length(node.number) for node in nodes}


@given(graphs(), st.integers(1, 4), st.data())
def test_longest_chains_first_and_no_slot_idle(nodes: list[Node], slots: int, data: st.DataObject) -> None:
    """Pieces finish one at a time, in an order that the test draws; before each, what runs is looked at."""
    length = chain_lengths(nodes)
    finished: set[int] = set()
    running: dict[Future[None], int] = {}
    waiting = set(range(len(nodes)))

    def ready() -> list[int]:
        return [node.number for node in nodes if node.number in waiting and set(numbers(node.parents)) <= finished]

    def submit(piece: Piece) -> Future[None]:
        number: int = piece.number  # type: ignore[attr-defined]
        assert number in ready()
        assert length[number] == max(length[other] for other in ready())
        waiting.remove(number)
        future: Future[None] = Future()
        running[future] = number
        return future

    def wait(futures: Iterable[Future[None]], return_when: str) -> tuple[set[Future[None]], None]:
        assert set(futures) == running.keys()
        assert len(running) <= slots
        assert len(running) == slots or not ready()
        done = data.draw(st.lists(st.sampled_from(sorted(running, key=running.get)), min_size=1, unique=True))  # type: ignore[arg-type]
        for future in done:
            finished.add(running.pop(future))
            future.set_result(None)
        return set(done), None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ORDER, "wait", wait)
        found = list(made(list(nodes), slots, submit))
    assert sorted(numbers(found)) == list(range(len(nodes)))


def test_one_at_a_time_the_long_chain_goes_before_the_many_short_ones() -> None:
    short = [Node(number) for number in range(3)]
    long = [Node(10)]
    for number in (11, 12, 13):
        long.append(Node(number, (long[-1],)))
    order: list[int] = []

    def submit(piece: Piece) -> Future[None]:
        order.append(piece.number)  # type: ignore[attr-defined]
        future: Future[None] = Future()
        future.set_result(None)
        return future

    assert numbers(made([*short, *long], 1, submit)) == order == [10, 11, 12, 0, 1, 2, 13]


def test_a_failure_is_raised_and_nothing_goes_on() -> None:
    asked: list[int] = []

    def submit(piece: Piece) -> Future[None]:
        asked.append(piece.number)  # type: ignore[attr-defined]
        future: Future[None] = Future()
        future.set_exception(RuntimeError("its own words"))
        return future

    first, second = Node(1), Node(2)
    with pytest.raises(RuntimeError, match="its own words"):
        list(made([first, second, Node(3, (first,))], 1, submit))
    assert asked == [1]
