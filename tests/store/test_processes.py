"""One store, several processes, some of which are killed."""

import fcntl
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from prunus.store import Store, identity
from prunus.store.folder import _locked

from .mortal import Mortal
from .pieces import Number

PATIENCE = 60  # seconds until a thread that waits for what never comes fails the test


@contextmanager
def elsewhere(store: Store, diary: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """A process that makes the piece, when it is in the middle of it."""
    program = Path(__file__).with_name("mortal.py")
    command = [sys.executable, str(program), str(store.path), str(diary), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the middle\n"
        yield process


def hidden(store: Store) -> list[str]:
    return sorted(path.name for path in store.path.iterdir() if path.name.startswith("."))


def test_two_processes_that_want_one_piece_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, diary, waiting = Store(tmp_path / "store"), tmp_path / "diary", threading.Event()
    lock = fcntl.flock

    def flock(file: Any, how: int) -> None:
        waiting.set()
        lock(file, how)

    with elsewhere(store, diary, "lives") as process:
        monkeypatch.setattr(fcntl, "flock", flock)
        second = threading.Thread(target=store.make, args=[Mortal(diary)])
        second.start()
        assert waiting.wait(PATIENCE)
        assert Mortal(diary) not in store
        process.communicate("go on\n")
        second.join(PATIENCE)
    assert process.returncode == 0
    assert diary.read_text().splitlines() == ["begins anew", "ends"]
    assert Mortal(diary) in store
    assert hidden(store) == []


def test_a_killed_process_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    store, diary = Store(tmp_path / "store"), tmp_path / "diary"
    piece = Mortal(diary, dies=True)
    with elsewhere(store, diary, "dies") as process:
        process.wait(PATIENCE)
    assert process.returncode == -signal.SIGKILL
    assert piece not in store
    assert store.runs() == []
    assert hidden(store) == [f".{identity(piece)}.lock", f".{identity(piece)}.unfinished"]
    store.make(piece)
    assert store.metrics(piece) == {"taken_up": "from the middle"}
    assert diary.read_text().splitlines() == ["begins anew", "begins from the middle", "ends"]
    assert hidden(store) == []


def test_many_threads_at_once(tmp_path: Path) -> None:
    """Locks of two open files exclude each other within one process, too."""
    for number in range(10):
        store, diary = Store(tmp_path / str(number)), tmp_path / f"diary {number}"
        barrier = threading.Barrier(8)

        def ask(store: Store = store, diary: Path = diary, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(PATIENCE)
            Store(store.path).make(Mortal(diary))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert diary.read_text().splitlines() == ["begins anew", "ends"]
        assert hidden(store) == []


@pytest.mark.parametrize("third", [True, False], ids=["a third came", "nobody came"])
def test_who_waited_for_a_lock_that_its_owner_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, third: bool
) -> None:
    """The waiter gets the lock of a file that is no more; whoever comes then has a new file, and must not be met."""
    path, lock = tmp_path / "lock", fcntl.flock
    asked, got, go_on, inside = threading.Semaphore(0), threading.Event(), threading.Event(), []

    def flock(file: Any, how: int) -> None:
        if threading.current_thread() is waiter:
            asked.release()
            lock(file, how)
            got.set()
            assert go_on.wait(PATIENCE)
        else:
            lock(file, how)

    def wait() -> None:
        with _locked(path):
            inside.append("waiter")

    waiter = threading.Thread(target=wait)
    monkeypatch.setattr(fcntl, "flock", flock)
    with _locked(path):
        waiter.start()
        assert asked.acquire(timeout=PATIENCE)
    assert got.wait(PATIENCE)  # of the file that is gone
    if third:
        with _locked(path):
            go_on.set()
            assert asked.acquire(timeout=PATIENCE)  # it saw that, and asks for the new one
            inside.append("third")
    else:
        go_on.set()
    waiter.join(PATIENCE)
    assert inside == (["third", "waiter"] if third else ["waiter"])
    assert list(tmp_path.iterdir()) == []


def test_the_lock_is_free_after_a_failure(tmp_path: Path) -> None:
    def fail() -> None:
        with _locked(tmp_path / "lock"):
            assert (tmp_path / "lock").exists()
            raise RuntimeError

    for _ in range(2):
        with pytest.raises(RuntimeError):
            fail()
        assert not (tmp_path / "lock").exists()


def test_many_that_begin_one_store_at_once(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    failures: list[BaseException] = []

    def begin() -> None:
        try:
            barrier.wait(PATIENCE)
            Store(tmp_path / "new").make(Number(1))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(["store.json", identity(Number(1))])
