"""Engines: make the pieces that a store lacks, parents first, in this process, on all cores, or on a Ray cluster."""

import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

import torch

from prunus.errors import PrunusError
from prunus.laboratory.cluster import first_line, joined
from prunus.laboratory.order import made, missing
from prunus.progress import Progress, silent
from prunus.store import Piece, Store, identity

Engine = Callable[[Store, Iterable[Piece], Progress], None]
_DEATHS = 5  # workers that may be killed before the work is given up


def serial(store: Store, pieces: Iterable[Piece], progress: Progress = silent) -> None:
    """Make what is missing of `pieces`, one after the other, in this process, on one thread."""
    left = missing(store, pieces)
    with one_thread():
        for number, piece in enumerate(left, 1):
            store.make(piece, _numbered(progress, number, len(left)))


def pool(processes: int) -> Engine:
    """An engine of `processes` processes on this machine, one thread each; the results are those of `serial`.

    A process that is killed costs what its piece, and those beside it, did since their last checkpoint.
    """

    def engine(store: Store, pieces: Iterable[Piece], progress: Progress = silent) -> None:
        left, deaths = missing(store, pieces), 0
        told = _told(progress, len(left))
        while left:
            try:
                with _executor(processes) as executor:
                    for piece in made(left, processes, partial(_submitted, executor, str(store.path))):
                        left.remove(piece)
                        told(len(left))
            except BrokenProcessPool as error:
                deaths += 1
                if deaths > _DEATHS:
                    raise PrunusError(f"{deaths} worker processes died; is there enough memory?") from error
                left = missing(store, left)

    return engine


def ray(address: str | None = None) -> Engine:
    """An engine on the Ray cluster at `address`, or on one of Ray's own on this machine; results as of `serial`.

    The store, the data and all files that pieces name have to be on all machines, under the same names. A worker that
    is killed costs what its piece did since its last checkpoint. Raises `PrunusError` where Ray is missing, its cluster
    cannot be reached, or its workers have other versions, with which they would make other pieces.
    """

    def engine(store: Store, pieces: Iterable[Piece], progress: Progress = silent) -> None:
        left = missing(store, pieces)
        if not left:
            return
        told = _told(progress, len(left))
        with joined(address) as cluster:
            make = cluster.remote(num_cpus=1, max_retries=_DEATHS)(_make_afar)
            there = (str(store.path.resolve()), os.getcwd(), os.environ.get("PRUNUS_DATA"))
            slots = max(1, int(cluster.cluster_resources().get("CPU", 1)))
            try:
                for piece in made(left, slots, lambda piece: make.remote(piece, identity(piece), *there).future()):
                    left.remove(piece)
                    told(len(left))
            except cluster.exceptions.RayTaskError as error:
                raise error.cause from error
            except cluster.exceptions.RayError as error:
                raise PrunusError(f"the Ray cluster lost a piece of work: {first_line(error)}.") from error

    return engine


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread: sums have one order, on every machine alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _executor(processes: int) -> Iterator[ProcessPoolExecutor]:
    executor = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield executor
    except BaseException:
        for process in list(executor._processes.values()):
            process.terminate()  # or leaving waits for what nobody wants any more
        executor.shutdown(cancel_futures=True)
        raise
    executor.shutdown()


def _submitted(executor: ProcessPoolExecutor, path: str, piece: Piece) -> "Future[None]":
    return executor.submit(_make, path, piece)


def _make(path: str, piece: Piece) -> None:
    with one_thread():
        Store(path).make(piece)


def _make_afar(piece: Piece, run: str, path: str, folder: str, data: str | None) -> None:
    """Make `piece`, of identity `run`, in the store `path`, in a process that began elsewhere."""
    if os.path.isdir(folder):
        os.chdir(folder)  # names of files lead to the same files as in the calling process
    if data is not None:
        os.environ["PRUNUS_DATA"] = data
    if identity(piece) != run:
        raise PrunusError(f"the worker on {socket.gethostname()} has other versions of prunus or torch.")
    _make(path, piece)


def _numbered(progress: Progress, number: int, total: int) -> Progress:
    """The progress of one piece, which also says the how manieth it is."""
    return lambda title, done, steps, note: progress(title, done, steps, f"piece {number} of {total}, {note}")


def _told(progress: Progress, total: int) -> Callable[[int], None]:
    """A function that is told how many pieces are left, and tells `progress`."""
    started = time.monotonic()

    def told(left: int) -> None:
        seconds = (time.monotonic() - started) / (total - left) * left
        note = f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"
        progress("pieces", total - left, total, note)

    return told
