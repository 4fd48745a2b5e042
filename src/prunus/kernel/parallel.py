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

from prunus.kernel.vectors import COUNTERS

Kernel = Callable[[Any], None]
SIGNATURE = types.void(types.CPointer(types.int64))


def run(kernel: Kernel, workers: int, *arguments: int) -> None:
    """Let `workers` workers take up `kernel`, which shares the work out among them by counters.

    A kernel reads counters that start at zero, then `arguments`: numbers, and addresses of memory that
    the caller keeps alive. Of the workers some may come late or never, so each asks the counters what is left to do.
    """
    held = array("q", (0,) * COUNTERS + arguments)
    numbers = held.buffer_info()[0]
    address = _machine_code(kernel).address
    if workers == 1:
        _call()(address)(numbers)
    else:
        _start()(address, numbers, workers, 0)


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
def _start() -> Callable[[int, Any, int, int], object]:
    """GOMP_parallel of the OpenMP that torch runs on; threads of our own where torch has none or another."""
    try:
        start = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).GOMP_parallel
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
