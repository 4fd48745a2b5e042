"""Ascending integers of up to 64 bits, as the steps between them: the levels of a palette."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.code.arithmetic import Coder, code_bit, code_number
from prunus.code.compiled import compiled
from prunus.code.mixing import HALF, chance, learnt


def write_steps(coder: Coder, ascending: NDArray[np.uint64]) -> None:
    """Write integers that ascend strictly; how many is known to the reader."""
    _walk(*coder, _halves(np.diff(ascending, prepend=np.uint64(0))))


def read_steps(coder: Coder, count: int) -> NDArray[np.uint64]:
    """The `count` integers that were written; altered data may give any."""
    halves = np.zeros((count, 2), np.int64)
    _walk(*coder, halves)
    steps = halves[:, 0].astype(np.uint64) << np.uint64(32) | halves[:, 1].astype(np.uint64)
    return np.cumsum(steps, dtype=np.uint64)


def _halves(steps: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.stack([steps >> np.uint64(32), steps & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)


@compiled
def _walk(state: Any, buffer: Any, halves: Any) -> Any:
    """Of each step the number of bits, 7 modelled bits, then the bits below the leading one."""
    slots = np.full(1 << 7, HALF, np.int32)
    for k in range(halves.shape[0]):
        high, low = halves[k, 0], halves[k, 1]
        length = 0
        while length < 64 and (high >> (length - 32) if length >= 32 else high << 32 | low >> length):
            length += 1
        node = np.int64(1)
        for shift in range(6, -1, -1):
            bit = code_bit(state, buffer, (length >> shift) & 1, chance(slots[node]))
            slots[node] = learnt(slots[node], bit, 255)
            node = node << 1 | bit
        below = min(np.int64(node - 128), np.int64(64)) - 1
        if below < 0:
            high, low = np.int64(0), np.int64(0)
        elif below < 32:
            high, low = np.int64(0), 1 << below | code_number(state, buffer, low & ((1 << below) - 1), below)
        else:
            high = 1 << (below - 32) | code_number(state, buffer, high & ((1 << (below - 32)) - 1), below - 32)
            low = code_number(state, buffer, low, 32)
        halves[k, 0], halves[k, 1] = high, low
