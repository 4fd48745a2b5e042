"""The k largest of many numbers, exactly k, equal ones settled by lowest index."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from prunus.errors import PrunusError

AT_ONCE = 1 << 24  # entries: more are not copied together, 64 MiB, to find the threshold


def keep_largest(scores: Sequence[Tensor], count: int) -> list[Tensor]:
    """Bool tensors of the same shapes, True at the `count` largest entries over all `scores` together.

    Among equal scores the earlier tensor, then the lower flat index, is kept. The threshold is found among
    order-preserving integer keys: by selection on the CPU, else by bisection, which needs neither a sort nor a
    second copy. Raises `PrunusError` unless 0 <= count <= number of entries.
    """
    total = sum(score.numel() for score in scores)
    if not 0 <= count <= total:
        raise PrunusError(f"cannot keep {count} of {total} entries.")
    wide = any(score.dtype in (torch.float64, torch.int64) for score in scores)
    keys = [_ordered(score, wide) for score in scores]
    threshold = _threshold(keys, count)
    kept = [key > threshold for key in keys]
    wanted = count - sum(int(mask.sum()) for mask in kept)
    for key, mask in zip(keys, kept, strict=True):
        if wanted == 0:
            break
        equal = (key == threshold).reshape(-1).nonzero().squeeze(1)[:wanted]  # (ties kept here,)
        mask.view(-1)[equal] = True
        wanted -= len(equal)
    return kept


def keep_largest_per_row(scores: Tensor, count: int) -> Tensor:
    """True at the `count` largest entries of each row; `scores` is (rows, columns), ties by lowest column."""
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :count]  # (rows, count)
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order, True)


def ranks(scores: Tensor) -> Tensor:
    """Position of each entry in ascending order, 0 to n - 1, ties so that the lowest index ranks highest."""
    order = scores.reshape(-1).sort(descending=True, stable=True).indices
    positions = torch.empty_like(order)
    positions[order] = torch.arange(len(order) - 1, -1, -1, device=order.device)
    return positions.reshape(scores.shape)


def _ordered(score: Tensor, wide: bool) -> Tensor:
    """Contiguous integers in the same order as `score`: the bits of a float, its negative half reversed."""
    real, integer = (torch.float64, torch.int64) if wide else (torch.float32, torch.int32)
    bits = (score.to(real) + 0.0).contiguous().view(integer)  # + 0.0: -0.0 equals 0.0
    largest = torch.iinfo(integer).max
    return torch.where(bits < 0, bits ^ largest, bits)


def _threshold(keys: Sequence[Tensor], count: int) -> int:
    """The largest key that at least `count` keys reach; above every key where `count` is 0."""
    if count == 0:
        return max((int(key.max()) for key in keys if key.numel()), default=0)
    total = sum(key.numel() for key in keys)
    if total <= AT_ONCE and all(key.device.type == "cpu" for key in keys):
        together = torch.cat([key.reshape(-1) for key in keys]).numpy()
        return int(np.partition(together, total - count)[total - count])
    low = min(int(key.min()) for key in keys if key.numel())
    high = max(int(key.max()) for key in keys if key.numel())
    while low < high:
        middle = (low + high + 1) // 2
        if sum(int(torch.count_nonzero(key >= middle)) for key in keys) >= count:
            low = middle
        else:
            high = middle - 1
    return low
