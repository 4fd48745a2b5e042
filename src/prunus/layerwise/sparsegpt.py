"""SparseGPT: columns from left to right, what each loses made up for by those to its right."""

import torch
from torch import Tensor, nn

from prunus import scope as scopes
from prunus.errors import PrunusError
from prunus.layerwise.problems import Problem, measured
from prunus.mask import Mask, check_density
from prunus.ranking import keep_largest, keep_largest_per_row
from prunus.scope import Scope, count, n_of_m
from prunus.tree import Tree, plain_weights


@torch.no_grad()
def sparsegpt(
    model: nn.Module | Tree,
    grams: Tree,
    density: float,
    *,
    scope: Scope = scopes.tensor,
    damping: float = 0.01,
    block: int = 128,
    selection: int | None = None,
) -> tuple[dict[str, Tensor], Mask]:
    """SparseGPT: Optimal Brain Surgeon with a fixed order of columns, so that all rows share one inverse.

    `selection` columns are decided together, by what their weights have become: by default `block`, for `n_of_m` scopes
    m. `scope` is `tensor` (all rows of a selection compete), `row` or `n_of_m`; counts over a tensor, or row, are
    exact. Updates beyond `block` columns wait until it is done. `grams` are `prunus.evidence.input_grams`; weights
    without one stay as they are, and are not in the mask. `damping` times the mean of its diagonal is added to that of
    H.

    Idea: column j's pruned entries are made up for by the columns to its right alone, whose inverse is the same for
    every row.
    Formula: with U the upper Cholesky factor of H^-1, H = X X^T, the cost is w_j^2 / U_jj^2 and the update w_k -= w_j /
    U_jj U_jk for k > j.
    Source: Frantar & Alistarh 2023, "SparseGPT: massive language models can be accurately pruned in one-shot",
    algorithm 1.
    Use: large layers, one shot, no retraining, 50 % or 2:4.
    Cost: columns^3 + rows columns^2 a layer.
    Differs: the authors' code prunes every entry that ties with the last one pruned, zeroes weights whose input is
    always zero, measures a block behind blocks pruned already (`in_order`, with `blocks`), and computes in single
    precision; here it is double.

    Raises `PrunusError` for a density outside (0, 1], another scope, grams that do not fit, a `selection` that neither
    divides `block` nor is a multiple of it, and inputs that depend on each other where `damping` is 0.
    """
    check_density(density)
    chosen = selection or (scope.m if isinstance(scope, n_of_m) else block)
    if block < 1 or chosen < 1 or (block % chosen and chosen % block):
        raise PrunusError(f"selection {chosen} neither divides block {block} nor is a multiple of it.")
    moved, kept = plain_weights(model), dict[str, Tensor]()
    for name, weight, parts in list(measured(moved, grams)):
        choice = _Choice(scope, density)
        order = _order(weight, scope, density, name)
        done = [_sparse(part, part.inverse(damping), order, choice, block, chosen) for part in parts]
        moved[name] = torch.cat([rows for rows, _ in done]).reshape(weight.shape).to(weight)
        kept[name] = torch.cat([alive for _, alive in done]).reshape(weight.shape)
    return moved, Mask(kept)


def _sparse(
    part: Problem, inverse: Tensor, order: Tensor, choice: "_Choice", block: int, selection: int
) -> tuple[Tensor, Tensor]:
    """The rows of one problem, pruned, and what is kept of them, (rows, columns) both."""
    rows = part.rows[:, order]
    upper = torch.linalg.cholesky(inverse[order][:, order], upper=True)
    scores = upper.diagonal().square().reciprocal()
    kept = torch.ones_like(rows, dtype=torch.bool)
    columns = rows.shape[1]
    choice.row = 0
    for start in range(0, columns, block):
        stop = min(start + block, columns)
        errors = torch.zeros_like(rows[:, start:stop])
        for j in range(start, stop):
            if j % selection == 0:
                run = slice(j, min(j + selection, columns))
                kept[:, run] = choice(rows[:, run].square() * scores[run])
            lost = torch.where(kept[:, j], 0, rows[:, j]) / upper[j, j]
            rows[:, j:stop] -= lost[:, None] * upper[j, j:stop]
            rows[:, j] = torch.where(kept[:, j], rows[:, j], 0)
            errors[:, j - start] = lost
        rows[:, stop:] -= errors @ upper[start:stop, stop:]
    back = order.argsort()
    return rows[:, back], kept[:, back]


class _Choice:
    """Keeps entries of one run of columns after the other, so many that the counts over all of them are exact."""

    def __init__(self, scope: Scope, density: float) -> None:
        if scope not in (scopes.tensor, scopes.row) and not isinstance(scope, n_of_m):
            raise PrunusError("sparsegpt decides some columns at a time: its scope is tensor, row or n_of_m.")
        self._scope, self._density = scope, density
        self.row = self._tensor = 0  # entries decided, of each row and of the tensor

    def __call__(self, scores: Tensor) -> Tensor:
        """What is kept of the run with these scores, (rows, columns)."""
        before, self.row = self.row, self.row + scores.shape[1]
        first, self._tensor = self._tensor, self._tensor + scores.numel()
        if self._scope is scopes.row:
            return keep_largest_per_row(scores, count(self._density, self.row) - count(self._density, before))
        if self._scope is scopes.tensor:
            wanted = count(self._density, self._tensor) - count(self._density, first)
            return keep_largest([scores], wanted)[0]
        return self._scope({"": scores}, self._density)[""]


def _order(weight: Tensor, scope: Scope, density: float, name: str) -> Tensor:
    """The order in which columns go: neighbours along the inputs together where they compete."""
    columns = torch.arange(weight[0].numel(), device=weight.device)
    if not isinstance(scope, n_of_m):
        return columns
    scope({name: weight}, density)  # refuses what it cannot divide
    return columns.reshape(weight.shape[1:]).movedim(0, -1).reshape(-1)
