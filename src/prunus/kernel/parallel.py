"""Machine code run on torch's own threads: no second pool that competes with torch's for the cores."""

import ctypes
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numba
import torch
from numba import types

from prunus.code.compiled import compiled
from prunus.kernel.vectors import COUNTERS, called, taken

Kernel = Callable[[Any], None]
SIGNATURE = types.void(types.CPointer(types.int64))
WORKERS, NUMBER, SHARES = 2, 3, 4  # places among the counters: how many, who tells which one this is, what is taken


def run(kernel: Kernel, workers: int, *arguments: int) -> None:
    """Let `workers` workers take up `kernel`, which shares the work out among them by counters.

    A kernel reads counters, of which it may use the first two, then `arguments`: numbers, and addresses of memory that
    the caller keeps alive. Of the workers some may come late or never, so each asks the counters what is left to do.
    """
    held = array("q", _counters(workers) + arguments)
    numbers = held.buffer_info()[0]
    address = _machine_code(kernel).address
    if workers == 1:
        _call()(address)(numbers)
    else:
        _start()(address, numbers, workers, 0)


@compiled
def task_of(pointer: Any, tasks: Any) -> Any:
    """A task that nobody has yet, of `tasks`, which is what comes after the last.

    Each worker has a stretch of its own, and helps others when that is done: at the next kernel, and where torch splits
    tensors into as many stretches, it finds in its core's cache what it wrote.
    """
    shares = min(pointer[WORKERS], COUNTERS - SHARES)
    own = called(pointer[NUMBER])
    for i in range(shares):
        share = (own + i) % shares
        task = tasks * share // shares + taken(pointer, SHARES + share)
        if task < tasks * (share + 1) // shares:
            return task
    return tasks


@cache
def _machine_code(kernel: Kernel) -> Any:
    """`kernel` compiled at its first use, and kept on disk, where it can be, for later ones."""
    try:
        return numba.cfunc(SIGNATURE, cache=True, error_model="numpy")(kernel)
    except RuntimeError:  # no folder to keep it in
        return numba.cfunc(SIGNATURE, error_model="numpy")(kernel)


@cache
def _call() -> Any:
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _counters(workers: int) -> tuple[int, ...]:
    """Counters at their start, with the address of omp_get_thread_num, or zero where torch has none."""
    try:
        number = ctypes.cast(_library().omp_get_thread_num, ctypes.c_void_p).value or 0
    except (OSError, AttributeError):
        number = 0
    return 0, 0, workers, number, *(0,) * (COUNTERS - SHARES)


@cache
def _library() -> ctypes.CDLL:
    """What torch has loaded, with its OpenMP."""
    return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))


@cache
def _start() -> Callable[[int, Any, int, int], object]:
    """GOMP_parallel of the OpenMP that torch runs on; threads of our own where torch has none or another."""
    try:
        start = _library().GOMP_parallel
    except (OSError, AttributeError):
        return _start_threads
    start.argtypes, start.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return start


def _start_threads(address: int, numbers: Any, workers: int, _: int) -> None:
    function = _call()(address)
    with ThreadPoolExecutor(workers - 1) as pool:
        for _ in range(workers - 1):
            pool.submit(function, numbers)
        function(numbers)
