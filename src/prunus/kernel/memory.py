"""Memory that a thread keeps from call to call: what the system gives anew it has to clear and map, page by page."""

import threading
from math import prod

import torch
from torch import Tensor


class _Kept(threading.local):
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}


_KEPT = _Kept()


def workspace(purpose: str, *size: int) -> Tensor:
    """Float32 of any content, the same memory at each call of a thread for one purpose."""
    count = prod(size)
    kept = _KEPT.tensors.get(purpose)
    if kept is None or len(kept) < count:
        kept = _KEPT.tensors[purpose] = torch.empty(count)
    return kept[:count].view(size)
