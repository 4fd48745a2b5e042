"""The tree of a store as a person reads it: every line by hand."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from prunus.errors import FormatError, PrunusError
from prunus.store import Bench, Outcome, Piece, Store, identity
from prunus.store.lineage import Node, drawn, lineage


@dataclass(frozen=True)
class Task:
    model: str = "lenet-5"
    data: str = "mnist"
    corrupt: str | None = None


@dataclass(frozen=True, eq=False)
class Drawn:
    task: Task
    seed: int

    def make(self, bench: Bench) -> Outcome:
        return Outcome()


@dataclass(frozen=True, eq=False)
class Trained:
    task: Task
    start: Piece
    seed: int
    error: float | None
    mask: Piece | None = None

    def make(self, bench: Bench) -> Outcome:
        return Outcome(None, {"steps": 1500} | ({} if self.error is None else {"error": self.error}))


@dataclass(frozen=True, eq=False)
class Pruned:
    trained: Piece
    score: str
    density: float
    within: Piece | None = None

    def make(self, bench: Bench) -> Outcome:
        return Outcome(None, {"density": self.density})


@dataclass(frozen=True, eq=False)
class Inverted(Pruned):
    pass


@dataclass(frozen=True, eq=False)
class Iterated(Pruned):
    rounds: int = 100


@dataclass(frozen=True, eq=False)
class Rewired(Trained):
    pass


@dataclass(frozen=True, eq=False)
class GraduallyPruned(Trained):
    score: str = "magnitude"


@dataclass(frozen=True, eq=False)
class Packed:
    task: Task
    weights: Piece

    def make(self, bench: Bench) -> Outcome:
        return Outcome(None, {"file_bytes": 4096})


@dataclass(frozen=True, eq=False)
class Ended:
    trained: Piece

    def make(self, bench: Bench) -> Outcome:
        return Outcome(None, {"density": 0.1})


@dataclass(frozen=True, eq=False)
class Shuffled:
    mask: Piece
    seed: int

    def make(self, bench: Bench) -> Outcome:
        return Outcome(None, {"density": 0.5})


@dataclass(frozen=True, eq=False)
class Rewound:
    weights: Piece
    schedule: Piece

    def make(self, bench: Bench) -> Outcome:
        return Outcome()


@dataclass(frozen=True, eq=False)
class Acted:
    start: Piece
    mask: Piece
    kept: str
    pruned: str

    def make(self, bench: Bench) -> Outcome:
        return Outcome()


@dataclass(frozen=True, eq=False)
class Perturbed:
    start: Piece
    change: str

    def make(self, bench: Bench) -> Outcome:
        return Outcome()


@dataclass(frozen=True, eq=False)
class Connected:
    first: Piece
    second: Piece
    task: Task = field(default=Task(corrupt="labels"))

    def make(self, bench: Bench) -> Outcome:
        return Outcome()


TASK = Task()
START = Drawn(TASK, 3)
DENSE = Trained(TASK, START, 3, 2.0)
FIRST = Pruned(DENSE, "magnitude", 0.8)
TICKET = Trained(TASK, START, 3, 1.75, FIRST)
SECOND = Pruned(TICKET, "magnitude", 0.64, within=FIRST)
LAST = Trained(TASK, START, 3, 1.5, SECOND)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def lines(store: Store, *pieces: Piece) -> list[str]:
    """What is drawn once `pieces` are made, with names instead of identities."""
    for piece in pieces:
        store.make(piece)
    names = {identity(piece): f"<{number}>" for number, piece in enumerate(pieces)}
    return [with_names(line, names) for line in drawn(lineage(store))]


def with_names(line: str, names: dict[str, str]) -> str:
    for run, name in names.items():
        line = line.replace(run, name)
    return line


def test_an_empty_store(store: Store) -> None:
    assert lines(store) == []


def test_a_chain_is_straight(store: Store) -> None:
    assert lines(store, START, DENSE, FIRST, TICKET, SECOND, LAST) == [
        "* <0>  drawn    lenet-5 for mnist, seed 3",
        "* <1>  trained  1,500 steps, seed 3: 98.00 % right on test",
        "* <2>  pruned   by magnitude: 80.00 % kept",
        "* <3>  trained  1,500 steps, seed 3: 98.25 % right on test",
        "* <4>  pruned   by magnitude: 64.00 % kept",
        "* <5>  trained  1,500 steps, seed 3: 98.50 % right on test",
    ]


def test_branches_lie_beside_the_longest_chain_shortest_first(store: Store) -> None:
    shuffled = Shuffled(FIRST, 3)
    pieces = [
        *(START, DENSE, FIRST, TICKET, SECOND, LAST),
        shuffled,  # 6
        Trained(TASK, START, 3, 5.0, shuffled),
        Trained(TASK, Drawn(TASK, 9), 3, 6.0, FIRST),  # 8, of another start: the mask leads
        Pruned(DENSE, "chance", 0.5),
        Trained(TASK, START, 4, None),  # 10
        Drawn(TASK, 9),
    ]
    assert lines(store, *pieces) == [
        "* <0>  drawn    lenet-5 for mnist, seed 3",
        "|\\",
        "| * <10>  trained  1,500 steps, seed 4, to go on",
        "* <1>  trained  1,500 steps, seed 3: 98.00 % right on test",
        "|\\",
        "| * <9>  pruned   by chance: 50.00 % kept",
        "* <2>  pruned   by magnitude: 80.00 % kept",
        "|\\",
        "| * <8>  trained  1,500 steps, seed 3: 94.00 % right on test",
        "|\\",
        "| * <6>  shuffled seed 3",
        "| * <7>  trained  1,500 steps, seed 3: 95.00 % right on test",
        "* <3>  trained  1,500 steps, seed 3: 98.25 % right on test",
        "* <4>  pruned   by magnitude: 64.00 % kept",
        "* <5>  trained  1,500 steps, seed 3: 98.50 % right on test",
        "* <11>  drawn    lenet-5 for mnist, seed 9",
    ]


def test_branches_of_branches(store: Store) -> None:
    shuffled = Shuffled(FIRST, 3)
    pieces = [
        *(START, DENSE, FIRST, TICKET, SECOND, LAST),
        shuffled,
        Trained(TASK, START, 3, 5.0, shuffled),
        Trained(TASK, START, 3, 6.0, shuffled),
    ]
    assert lines(store, *pieces)[3:8] == [
        "|\\",
        "| * <6>  shuffled seed 3",
        "| |\\",
        "| | * <8>  trained  1,500 steps, seed 3: 94.00 % right on test",
        "| * <7>  trained  1,500 steps, seed 3: 95.00 % right on test",
    ]


def test_several_roots_and_what_else_there_is(store: Store) -> None:
    other = Drawn(Task("fc-500", "digits", "pixels"), 1)
    rewound = Rewound(DENSE, START)
    acted, perturbed = Acted(START, FIRST, "permute", "freeze"), Perturbed(START, "signs")
    inverted = Inverted(DENSE, "snip", 0.25)
    assert lines(store, START, DENSE, FIRST, other, rewound, acted, perturbed, Connected(DENSE, other), inverted) == [
        "* <7>  connected (corrupt labels)",
        "* <3>  drawn    fc-500 for digits, seed 1 (corrupt pixels)",
        "* <0>  drawn    lenet-5 for mnist, seed 3",
        "|\\",
        "| * <6>  changed  signs",
        "* <1>  trained  1,500 steps, seed 3: 98.00 % right on test",
        "|\\",
        "| * <8>  inverted by snip: 25.00 % kept",
        "|\\",
        "| * <4>  rewound",
        "* <2>  pruned   by magnitude: 80.00 % kept",
        "* <5>  changed  kept: permute, pruned: freeze",
    ]


def test_sparse_from_the_start(store: Store) -> None:
    iterated = Iterated(START, "synflow", 0.1)
    rewired = Rewired(TASK, START, 3, 5.0, iterated)
    assert lines(store, START, iterated, rewired, Ended(rewired)) == [
        "* <0>  drawn    lenet-5 for mnist, seed 3",
        "* <1>  pruned   by synflow in 100 rounds: 10.00 % kept",
        "* <2>  rewired  1,500 steps, seed 3: 95.00 % right on test",
        "* <3>  ended    10.00 % kept",
    ]


def test_a_mask_that_falls_and_the_file_it_ends_in(store: Store) -> None:
    falling = GraduallyPruned(TASK, START, 3, 5.0, None)
    assert lines(store, START, falling, Packed(TASK, falling)) == [
        "* <0>  drawn    lenet-5 for mnist, seed 3",
        "* <1>  pruned   by magnitude in 1,500 steps, seed 3: 95.00 % right on test",
        "* <2>  packed   4,096 bytes",
    ]


def test_equals_are_in_the_order_of_their_identities(store: Store) -> None:
    twins = [Trained(TASK, START, 3, error, None) for error in (2.0, 2.000001, 2.000002)]
    order = sorted(range(3), key=lambda number: identity(twins[number]))
    what = "trained  1,500 steps, seed 3: 98.00 % right on test"
    first, second, last = (f"* <{number}>  {what}" for number in order)
    assert lines(store, *twins) == [first, second, last]
    assert lines(store, *twins, START)[1:] == ["|\\", f"| {first}", "|\\", f"| {second}", last]


def test_a_piece_whose_parent_is_gone(store: Store) -> None:
    """It is a root; one whose mask is gone lies below its start."""
    lines(store, START, DENSE, FIRST, TICKET)
    shutil.rmtree(store.folder(FIRST))
    assert lines(store, START, DENSE)[1:] == [
        "|\\",
        "| * <1>  trained  1,500 steps, seed 3: 98.00 % right on test",
        f"* {identity(TICKET)}  trained  1,500 steps, seed 3: 98.25 % right on test",
    ]
    shutil.rmtree(store.folder(START))
    assert [line.split()[:2] for line in drawn(lineage(store))] == [["*", identity(DENSE)], ["*", identity(TICKET)]]


def test_nodes_know_their_parents(store: Store) -> None:
    lines(store, START, DENSE, FIRST, TICKET, SECOND)
    nodes: dict[str, Node] = {}
    stack = lineage(store)
    while stack:
        node = stack.pop()
        nodes[node.run] = node
        stack += node.children
    assert len(nodes) == 5
    found = nodes[identity(SECOND)]
    assert found.parents == {"trained": identity(TICKET), "within": identity(FIRST)}
    assert found.metrics == {"density": 0.64}
    assert found.specification["score"] == "magnitude"
    assert nodes[identity(TICKET)].parents == {"start": identity(START), "mask": identity(FIRST)}


def test_a_long_chain() -> None:
    """No recursion: a store that stands for 3,000 pieces, the deepest one first."""

    class Long:
        def runs(self) -> list[str]:
            return [f"{number:04}" for number in reversed(range(3000))]

        def specification_of(self, run: str) -> dict[str, Any]:
            return {"kind": "Shuffled", "seed": int(run)} | ({"mask": f"{int(run) - 1:04}"} if int(run) else {})

        def metrics_of(self, run: str) -> dict[str, Any]:
            return {}

    expected = [f"* {number:04}  shuffled seed {number}" for number in range(3000)]
    assert list(drawn(lineage(Long()))) == expected  # type: ignore[arg-type]


def test_an_altered_piece_is_not_drawn(store: Store) -> None:
    lines(store, START, DENSE)
    path = store.folder(DENSE) / "specification.toml"
    path.write_text(path.read_text().replace("seed = 3", "seed = 4"))
    with pytest.raises(FormatError, match="of another piece"):
        lineage(store)


def test_a_piece_without_what_its_kind_has_is_damaged():
    specification = {"kind": "Pruned", "score": "magnitude"}
    with pytest.raises(FormatError, match=r"0123 is damaged: KeyError\('density'\)"):
        list(drawn([Node("0123", specification, {}, {})]))


def test_the_kind_of_a_study_is_one_word(tmp_path):
    with pytest.raises(PrunusError, match="one word"):
        Store(tmp_path / "store").keep_study({"kind": "../tickets"})
