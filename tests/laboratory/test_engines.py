"""One process or several, dying or not: the same pieces, the same bytes."""

import os
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from prunus.errors import PrunusError
from prunus.laboratory import engine as engines
from prunus.laboratory import pool, serial
from prunus.store import Store, identity

from .searches import contents, search


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def lines(diary: Path) -> list[str]:
    return sorted(diary.read_text().splitlines())


COUNTING = ["1: 1 of 1", "2: 1 of 1", *(f"3: {n} of 3" for n in (1, 2, 3)), *(f"4: {n} of 5" for n in range(1, 6))]


def test_serial_makes_everything_once_on_one_thread(
    store: Store, deadly: ModuleType, tmp_path: Path, one_thread: None
) -> None:
    torch.set_num_threads(2)
    told: list[tuple[Any, ...]] = []
    pieces = deadly.graph(tmp_path / "diary")
    for _ in range(2):
        serial(store, [*pieces, deadly.Surroundings()], lambda *what: told.append(what))
    assert lines(tmp_path / "diary") == COUNTING
    assert store.metrics(deadly.Surroundings())["threads"] == 1
    assert torch.get_num_threads() == 2
    assert [store.result(piece).kept for piece in pieces] == [5, 3]


def test_serial_says_which_piece_of_how_many_it_is_at(store: Store, deadly: ModuleType) -> None:
    told: list[tuple[Any, ...]] = []

    class Telling(deadly.Failing):  # type: ignore[misc, name-defined]
        def make(self, bench: Any) -> Any:
            bench.progress("train", 20, 40, "loss 0.5")
            return super().make(bench)

    with pytest.raises(PrunusError, match=r"^the layer 'fc7' is not there\.$"):
        serial(store, [*deadly.graph(), Telling()], lambda *what: told.append(what))
    assert told == [("train", 20, 40, "piece 5 of 5, loss 0.5")]
    assert len(store.runs()) == 4


def test_a_search_in_two_processes_has_the_bytes_of_the_serial_one(store: Store, expected: dict[str, str]) -> None:
    told: list[tuple[Any, ...]] = []
    search(store, lambda *what: pool(2)(*what[:2], lambda *line: told.append(line)))
    assert contents(store) == expected
    pieces = len(store.runs())
    assert [line[:3] for line in told] == [("pieces", done, pieces) for done in range(1, pieces + 1)]
    search(store, nobody)
    assert contents(store) == expected


def nobody(store: Store, pieces: Any, progress: Any) -> None:
    """An engine for a store that has everything."""
    assert engines.missing(store, pieces) == []


def test_a_pool_with_a_process_that_is_killed(store: Store, deadly: ModuleType, tmp_path: Path) -> None:
    """It dies after the first of three counts: no count is lost, and none is made twice."""
    serial(undisturbed := Store(tmp_path / "undisturbed"), deadly.graph())
    pool(1)(store, deadly.graph(tmp_path / "diary", deaths=1), lambda *_: None)
    assert lines(tmp_path / "diary") == COUNTING
    assert contents(store) == contents(undisturbed)


def test_a_pool_whose_processes_are_killed_again_and_again(
    store: Store, deadly: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = []

    class Dying:
        def submit(self, *what: Any) -> Future[None]:
            deaths.append(what)
            raise BrokenProcessPool("a process was terminated abruptly")

    monkeypatch.setattr(engines, "_executor", lambda processes: nullcontext(Dying()))
    with pytest.raises(PrunusError, match=r"^6 worker processes died; is there enough memory\?$"):
        pool(1)(store, deadly.graph(), lambda *_: None)
    assert len(deaths) == 6


def test_what_goes_wrong_in_a_process_is_said_in_its_own_words(store: Store, deadly: ModuleType) -> None:
    with pytest.raises(PrunusError) as caught:
        pool(1)(store, [deadly.Surroundings(), deadly.Failing()], lambda *_: None)
    assert str(caught.value) == "the layer 'fc7' is not there."
    assert store.runs() == [identity(deadly.Surroundings())]
    assert store.metrics(deadly.Surroundings()) == {
        "folder": os.getcwd(),
        "data": os.environ.get("PRUNUS_DATA"),
        "threads": 1,
    }


def test_nothing_to_do_starts_no_process(store: Store, deadly: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    serial(store, deadly.graph())
    monkeypatch.setattr(engines, "ProcessPoolExecutor", None)
    pool(2)(store, deadly.graph(), lambda *_: None)
    pool(2)(store, [], lambda *_: None)
