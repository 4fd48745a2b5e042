"""How far long work has come: a bar on a terminal, an occasional line elsewhere, nothing unless asked.

Long work takes a `Progress`, a function it calls with a title, the steps done, the steps in all and a note.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Progress = Callable[[str, int, int, str], None]


def silent(title: str, done: int, total: int, note: str) -> None:
    """The progress of a library that was not asked to show any."""


@contextmanager
def shown(stream: TextIO | None = None) -> Iterator[Progress]:
    """A progress that writes to `stream` (standard error): a bar for each title on a terminal, else lines."""
    stream = stream or sys.stderr
    if stream.isatty():
        with _bars(stream) as bars:
            yield bars
    else:
        yield lines(stream)


def lines(stream: TextIO, *, every: float = 10.0, clock: Callable[[], float] = time.monotonic) -> Progress:
    """A progress of plain lines: each title's last step, and before it one line every `every` seconds at
    most.

    >>> show = lines(sys.stdout)
    >>> show("train", 1, 2, "loss 0.7")
    >>> show("train", 2, 2, "loss 0.5")
    train 2/2, loss 0.5
    """
    last = clock()

    def show(title: str, done: int, total: int, note: str) -> None:
        nonlocal last
        now = clock()
        if done == total or now - last >= every:
            last = now
            print(f"{title} {done}/{total}" + (f", {note}" if note else ""), file=stream, flush=True)

    return show


@contextmanager
def _bars(stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(file=stream)) as bars:
        tasks = {}

        def show(title: str, done: int, total: int, note: str) -> None:
            if title not in tasks:
                tasks[title] = bars.add_task(title, total=total, note=note)
            bars.update(tasks[title], completed=done, total=total, note=note)

        yield show
