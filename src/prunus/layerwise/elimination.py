"""Optimal Brain Surgeon on rows that share a quadratic: the order in which entries go, and where the others move.

A row w costs (v - w)^T H (v - w) / 2 when it becomes v. Everything here is exact for that, and needs H^-1 alone.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from prunus.errors import PrunusError

AT_ONCE = 1 << 24  # entries of inverses held together, one inverse a row


def costs(rows: Tensor, inverse: Tensor) -> Tensor:
    """What removing each entry costs at its turn, the others moved each time; `rows` is (rows, n).

    Rows are on their own. At every step the entry with the least w_q^2 / (2 [H^-1]_qq) goes (of equals the last), the
    others move by -w_q / [H^-1]_qq H^-1 e_q, and H^-1 becomes that of the entries left. In a row, costs rise strictly
    in the order of removal: one that falls counts as much as that before it. n^3 a row. Raises `PrunusError` where H^-1
    is too large to be precise.
    """
    found = torch.cat([_costs(some, inverse) for some in _few(rows)]) if len(rows) else rows.clone()
    if not found.isfinite().all():
        raise PrunusError("the inverse Hessian is too large to be precise; the damping must be raised.")
    return found


def _costs(rows: Tensor, inverse: Tensor) -> Tensor:
    count, size = rows.shape
    each = torch.arange(count, device=rows.device)[:, None]
    places = torch.arange(size, device=rows.device).expand(count, size)  # of the entries left
    rows, inverses = rows.clone(), inverse.expand(count, size, size).clone()
    found = torch.zeros_like(rows)
    last = torch.full_like(rows[:, :1], -torch.inf)
    while size := places.shape[1]:
        left = torch.ones_like(rows, dtype=torch.bool)
        for _ in range((size + 3) // 4):
            cost = rows.square() / (2 * inverses.diagonal(dim1=1, dim2=2))
            cost = torch.where(left & ~cost.isnan(), cost, torch.inf)
            least = cost.amin(1, keepdim=True)
            gone = torch.where(left & (cost == least), torch.arange(size, device=rows.device), -1).amax(1, keepdim=True)
            last = torch.maximum(least, last.nextafter(torch.full_like(last, torch.inf)))
            found.scatter_(1, places.gather(1, gone), last)
            column = inverses[each, :, gone][:, 0]  # (rows, size)
            scaled = column / column.gather(1, gone)
            rows -= rows.gather(1, gone) * scaled
            inverses.baddbmm_(column[:, :, None], scaled[:, None, :], alpha=-1)
            left.scatter_(1, gone, False)
        staying = left.nonzero()[:, 1].reshape(count, -1)
        places, rows = places.gather(1, staying), rows.gather(1, staying)
        inverses = inverses[each[:, :, None], staying[:, :, None], staying[:, None, :]]
    return found


def compensated(rows: Tensor, inverse: Tensor, kept: Tensor) -> Tensor:
    """The nearest rows that are zero where not `kept`: w - H^-1 E (E^T H^-1 E)^-1 E^T w, E the pruned entries.

    As if those had been removed one by one in any order. A third of p^3 a row, p the most that a row has pruned.
    """
    if not len(rows):
        return rows.clone()
    parts = zip(_few(rows), _few(kept), strict=True)
    return torch.cat([_compensated(some, inverse, alive) for some, alive in parts])


def _compensated(rows: Tensor, inverse: Tensor, kept: Tensor) -> Tensor:
    most = int((~kept).sum(1).max())
    places = kept.byte().argsort(dim=1, stable=True)[:, :most]  # of the pruned, then of some kept where a row has fewer
    pruned = ~kept.gather(1, places)
    among = inverse[places[:, :, None], places[:, None, :]]
    system = torch.where(pruned[:, :, None] & pruned[:, None, :], among, torch.diag_embed((~pruned).to(inverse)))
    wanted = (rows.gather(1, places) * pruned)[:, :, None]
    pulls = torch.cholesky_solve(wanted, torch.linalg.cholesky(system))[:, :, 0]
    return torch.where(kept, rows - torch.zeros_like(rows).scatter_(1, places, pulls) @ inverse, 0)


def _few(rows: Tensor) -> Iterator[Tensor]:
    return iter(rows.split(max(1, AT_ONCE // max(rows.shape[1], 1) ** 2)))
