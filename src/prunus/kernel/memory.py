"""Memory that is used again: what the system gives anew it has to clear and map, page by page."""

import threading
from collections import deque
from functools import lru_cache
from math import prod

import numpy as np
import torch
from torch import Tensor

LARGE = 2**16  # bytes that are worth it: what was used last is still in a cache, too
MOST = 2**28  # bytes of a size that wait to be used again, at most
SIZES = 16  # of which some wait, at most
ALIGNED = 64


class _Lent(np.ndarray):
    """Memory of a tensor, which goes back where it came from when that and all views of it are gone."""

    memory: np.ndarray
    waiting: deque[np.ndarray]

    def __del__(self) -> None:
        self.waiting.append(self.memory)


def empty(*size: int) -> Tensor:
    """Float32 of any content: `torch.empty`, in memory of tensors that are gone where it is large.

    Safe with threads and forks without a lock: each step of a deque is whole.
    """
    count = prod(size)
    if 4 * count < LARGE:
        return torch.empty(size)
    waiting = _waiting(count)
    try:
        memory = waiting.pop()
    except IndexError:
        memory = _fresh(count)
    lent = memory.view(_Lent)
    lent.memory, lent.waiting = memory, waiting
    return torch.from_numpy(lent).view(size)


@lru_cache(SIZES)
def _waiting(count: int) -> deque[np.ndarray]:
    return deque(maxlen=MOST // (4 * count))


def _fresh(count: int) -> np.ndarray:
    """By numpy, which asks for pages that are huge."""
    memory = np.empty(count + ALIGNED // 4, np.float32)
    start = -memory.ctypes.data % ALIGNED // 4
    return memory[start : start + count]


class _Kept(threading.local):
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}


_KEPT = _Kept()


def workspace(purpose: str, *size: int) -> Tensor:
    """Float32 of any content, the same memory at each call of a thread for one purpose."""
    count = prod(size)
    kept = _KEPT.tensors.get(purpose)
    if kept is None or len(kept) < count:
        kept = _KEPT.tensors[purpose] = empty(count)
    return kept[:count].view(size)
