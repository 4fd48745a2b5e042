"""Numbers too small for full precision, below 1.2e-38 in single precision: slow to work with, and worth nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed() -> Iterator[None]:
    """Inside, such numbers count as zero where torch computes on one thread; afterwards as before.

    The memory of an optimizer fades toward zero wherever gradients have ended (dead units, constant inputs) and then
    stays among them, which makes a step of a LeNet on the CPU up to 1.7 times as long. With several threads nothing is
    changed: the threads that torch has already would not follow.
    """
    if torch.get_num_threads() > 1:
        yield
        return
    before = _are_flushed()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _are_flushed() -> bool:
    return torch.tensor([1e-39]).mul(0.5).item() == 0.0
