"""Memory that a thread keeps from call to call: what the system gives anew it has to clear and map, page by page."""

import ctypes
import sys
import threading
from collections.abc import Callable
from functools import cache
from math import prod

import torch
from torch import Tensor

PAGE, LARGE = 2**12, 2**22  # bytes
MADV_HUGEPAGE = 14


class _Kept(threading.local):
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}


_KEPT = _Kept()


def empty(*size: int) -> Tensor:
    """Float32 of any content, of large pages where it is large: those cost the system a hundredth as many faults."""
    tensor = torch.empty(size)
    if tensor.nbytes >= LARGE and (advise := _advise()) is not None:
        start = -(-tensor.data_ptr() // PAGE) * PAGE
        advise(start, tensor.data_ptr() + tensor.nbytes - start, MADV_HUGEPAGE)
    return tensor


@cache
def _advise() -> Callable[[int, int, int], int] | None:
    if sys.platform != "linux":
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise


def workspace(purpose: str, *size: int) -> Tensor:
    """Float32 of any content, the same memory at each call of a thread for one purpose."""
    count = prod(size)
    kept = _KEPT.tensors.get(purpose)
    if kept is None or len(kept) < count:
        kept = _KEPT.tensors[purpose] = empty(count)
    return kept[:count].view(size)
