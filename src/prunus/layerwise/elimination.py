"""Optimal Brain Surgeon on rows that share a quadratic: the order in which entries go, and where the others move.

A row w costs (v - w)^T H (v - w) / 2 when it becomes v. Everything here is exact for that, and needs H^-1 alone.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

AT_ONCE = 1 << 24  # entries of inverses held together, one inverse a row


def costs(rows: Tensor, inverse: Tensor) -> Tensor:
    """What removing each entry costs at its turn, least first, the others moved each time; `rows` is (rows, n).

    Rows are on their own. At every step the entry with the least w_q^2 / (2 [H^-1]_qq) goes (of equals the last), the
    others move by -w_q / [H^-1]_qq H^-1 e_q, and H^-1 becomes that of the entries left. In a row, costs rise strictly
    in the order of removal: one that falls counts as much as that before it. n^3 a row.
    """
    return torch.cat([_costs(some, inverse) for some in _few(rows)]) if len(rows) else rows.clone()


def _costs(rows: Tensor, inverse: Tensor) -> Tensor:
    count, size = rows.shape
    rows, inverses = rows.clone(), inverse.expand(count, size, size).clone()
    each, places = torch.arange(count, device=rows.device), torch.arange(size, device=rows.device)
    left = torch.ones_like(rows, dtype=torch.bool)
    found = torch.zeros_like(rows)
    last = torch.full_like(rows[:, 0], -torch.inf)
    for _ in range(size):
        cost = torch.where(left, rows.square() / (2 * inverses.diagonal(dim1=1, dim2=2)), torch.inf)
        least = cost.amin(1, keepdim=True)
        gone = torch.where((cost == least) & left, places, -1).amax(1)  # (rows,)
        last = torch.maximum(least[:, 0], last.nextafter(torch.full_like(last, torch.inf)))
        found[each, gone] = last
        column = inverses[each, :, gone]  # (rows, n)
        pivot = column[each, gone][:, None]
        rows -= rows[each, gone][:, None] / pivot * column
        inverses.baddbmm_(column[:, :, None], (column / pivot)[:, None, :], alpha=-1)
        left[each, gone] = False
        rows[each, gone] = 0
    return found


def compensated(rows: Tensor, inverse: Tensor, kept: Tensor) -> Tensor:
    """The nearest rows that are zero where not `kept`: w - H^-1 E (E^T H^-1 E)^-1 E^T w, E the pruned entries.

    As if those had been removed one by one in any order. A third of n^3 a row.
    """
    if not len(rows):
        return rows.clone()
    parts = zip(_few(rows), _few(kept), strict=True)
    return torch.cat([_compensated(some, inverse, alive) for some, alive in parts])


def _compensated(rows: Tensor, inverse: Tensor, kept: Tensor) -> Tensor:
    pruned = ~kept
    system = torch.where(pruned[:, :, None] & pruned[:, None, :], inverse, torch.diag_embed(kept.to(inverse)))
    pulls = torch.cholesky_solve((rows * pruned)[:, :, None], torch.linalg.cholesky(system))[:, :, 0]
    return torch.where(kept, rows - pulls @ inverse, 0)


def _few(rows: Tensor) -> Iterator[Tensor]:
    return iter(rows.split(max(1, AT_ONCE // max(rows.shape[1], 1) ** 2)))
