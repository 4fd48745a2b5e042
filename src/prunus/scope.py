"""Who competes with whom, and how many survive? A scope turns atom scores and a density into kept atoms.

Counts are exact: `density` times the number of competing atoms, rounded half up. Equal scores are settled by
lowest index.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, prod

import torch
from torch import Tensor

from prunus.errors import PrunusError
from prunus.ranking import keep_largest, keep_largest_per_row
from prunus.tree import Tree, check_names

Scope = Callable[[Tree, float], dict[str, Tensor]]


def network(scores: Tree, density: float) -> dict[str, Tensor]:
    """All atoms of all tensors compete with each other."""
    total = sum(score.numel() for score in scores.values())
    kept = keep_largest(list(scores.values()), count(density, total))
    return dict(zip(scores, kept, strict=True))


def floored(least: float) -> Scope:
    """All atoms compete, but no tensor falls below `least` times the density: a guard against layer collapse.

    Each tensor first keeps its own best atoms up to the floor; what is left goes to the best of all the others.
    """
    if not 0 <= least <= 1:
        raise PrunusError(f"a floor is a part of the density, from 0 to 1, found {least}.")

    def scope(scores: Tree, density: float) -> dict[str, Tensor]:
        total = count(density, sum(score.numel() for score in scores.values()))
        first = {n: keep_largest([score], floor(least * density * score.numel()))[0] for n, score in scores.items()}
        rest = [score[~first[name]] for name, score in scores.items()]
        others = keep_largest(rest, total - sum(int(kept.sum()) for kept in first.values()))
        for kept, chosen in zip(first.values(), others, strict=True):
            kept[~kept] = chosen
        return first

    return scope


def tensor(scores: Tree, density: float) -> dict[str, Tensor]:
    """Atoms compete within their tensor: every tensor has the same density."""
    return {name: _within(score, density) for name, score in scores.items()}


def row(scores: Tree, density: float) -> dict[str, Tensor]:
    """Atoms compete within their row (an output unit's or filter's inputs), as Wanda has it."""
    kept = {}
    for name, score in scores.items():
        if score.ndim < 2:
            raise PrunusError(f"{name}: rows need two dimensions, found atoms of shape {tuple(score.shape)}.")
        rows = score.flatten(1)
        kept[name] = keep_largest_per_row(rows, count(density, rows.shape[1])).reshape(score.shape)
    return kept


@dataclass(frozen=True)
class n_of_m:  # noqa: N801  # used like the functions beside it: scope=n_of_m(2, 4)
    """The best `n` of every `m` neighbours along the second dimension (inputs), as in 2:4 sparsity.

    The density asked for must be n / m; the second dimension must be a multiple of m.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 0 < self.n <= self.m:
            raise PrunusError(f"n_of_m needs 0 < n <= m, found n = {self.n}, m = {self.m}.")

    def __call__(self, scores: Tree, density: float) -> dict[str, Tensor]:
        """The kept atoms of each tensor."""
        n, m = self.n, self.m
        if abs(density - n / m) > 1e-9:
            raise PrunusError(f"{n} of {m} has density {n / m:g}, found {density:g}.")
        kept = {}
        for name, score in scores.items():
            if score.ndim < 2 or score.shape[1] % m:
                raise PrunusError(f"{name}: groups of {m} do not divide the inputs of shape {tuple(score.shape)}.")
            inputs_last = score.movedim(1, -1)
            groups = keep_largest_per_row(inputs_last.reshape(-1, m), n)
            kept[name] = groups.reshape(inputs_last.shape).movedim(-1, 1).contiguous()
        return kept


def erk(scores: Tree, density: float) -> dict[str, Tensor]:
    """Erdos-Renyi-kernel densities: a tensor's is proportional to (sum of its dimensions) / (their product).

    Tensors that this would fill beyond density 1 stay dense and the others share what is left, so the whole
    has `density` exactly.

    Idea: a sparse random graph between two layers has edges in proportion to their nodes, so that large tensors become
    the sparsest and narrow ones keep enough.
    Formula: density of a tensor proportional to (inputs + outputs + width + height) / (inputs outputs width height).
    Source: Evci et al. 2020, "Rigging the lottery: making all tickets winners", section 3, after `er`.
    Use: with `score.chance`, for the first mask of training that is sparse throughout (`rewiring`).
    Cost: more multiplications than where all tensors are as dense, as narrow layers, which read the largest maps, stay
    the densest.
    """
    return _random_graph(scores, density, {name: sum(score.shape) for name, score in scores.items()})


def er(scores: Tree, density: float) -> dict[str, Tensor]:
    """Erdos-Renyi densities: as `erk`, but proportional to (inputs + outputs) / (inputs x outputs), kernels aside.

    Where all tensors are matrices, it is `erk`. Source: Mocanu et al. 2018, "Scalable training of artificial neural
    networks with adaptive sparse connectivity".
    """
    return _random_graph(
        scores, density, {name: sum(score.shape[:2]) * prod(score.shape[2:]) for name, score in scores.items()}
    )


def smart_ratio(scores: Tree, density: float, *, last: float = 0.3) -> dict[str, Tensor]:
    """Densities that fall with depth: tensor l of L keeps a part proportional to (L - l + 1)^2 + (L - l + 1).

    The last tensor, the output layer, keeps `last` of its atoms whatever the density; the others are scaled so that
    the whole has `density` exactly. What a tensor filled to density 1 cannot take goes to those that follow it.
    Raises `PrunusError` where the others cannot make up the density.

    Idea: only how dense each layer is matters to pruning before training, not which weights it keeps; so densities are
    set by a rule, and weights drawn by chance.
    Formula: p_l = c ((L - l + 1)^2 + (L - l + 1)), at most 1, c such that the whole has the density; p_L = `last`.
    Source: Su et al. 2020, "Sanity-checking pruning methods: random tickets can win the jackpot", for ResNets.
    Use: with `score.chance`, before training; the random ticket that any method has to beat.
    Cost: none.
    """
    layers = len(scores)
    return _falling(scores, density, last, [(layers - k) * (layers - k + 1) for k in range(layers - 1)])


def smart_ratio_vgg(scores: Tree, density: float, *, last: float = 0.3) -> dict[str, Tensor]:
    """As `smart_ratio`, with the parts divided by l^2, as its authors have it for VGG networks."""
    layers = len(scores)
    return _falling(scores, density, last, [(layers - k) * (layers - k + 1) / (k + 1) ** 2 for k in range(layers - 1)])


def given(densities: Mapping[str, float]) -> Scope:
    """These densities for these tensors; the others share what is left, so that the whole has `density`.

    Raises `PrunusError` where the rest cannot make up the density asked for: with every tensor named, it must
    be the density that follows from theirs.
    """
    for name, value in densities.items():
        if not 0 <= value <= 1:
            raise PrunusError(f"{name}: density {value} is outside [0, 1].")

    def scope(scores: Tree, density: float) -> dict[str, Tensor]:
        absent = [name for name in densities if name not in scores]
        if absent:
            raise PrunusError(f"no tensor named {', '.join(absent[:3])}; there are {', '.join(scores)}.")
        sizes = {name: score.numel() for name, score in scores.items()}
        counts = {name: count(value, sizes[name]) for name, value in densities.items()}
        rest = {name: size for name, size in sizes.items() if name not in densities}
        left = count(density, sum(sizes.values())) - sum(counts.values())
        if abs(left) > len(counts) if not rest else not 0 <= left <= sum(rest.values()):
            follows = (sum(counts.values()) + sum(rest.values()) / 2) / max(sum(sizes.values()), 1)
            raise PrunusError(f"the given densities and {density:g} over all do not fit (try {follows:.4g}).")
        if rest:
            counts |= _rounded({name: left * size / sum(rest.values()) for name, size in rest.items()}, rest, left)
        return _keep(scores, counts)

    return scope


def toward(densities: Mapping[str, float], begin: Mapping[str, float]) -> Scope:
    """Every tensor on the straight line from its density in `begin` to that in `densities`, however far that is.

    For schedules that end at densities of each tensor's own: at the density that follows from all of them,
    every tensor has its own; on the way there, each has gone the same part of its way.
    """

    def scope(scores: Tree, density: float) -> dict[str, Tensor]:
        first, last = overall(begin, scores), overall(densities, scores)
        part = min(1.0, max(0.0, (first - density) / (first - last))) if first > last else 0.0
        return given({name: begin[name] + part * (value - begin[name]) for name, value in densities.items()})(
            scores, density
        )

    return scope


def together(groups: Mapping[str, Tensor], scope: Scope = network) -> Scope:
    """Atoms with the same number in `groups` live or die together; `scope` says which groups do.

    `groups` has for each tensor the numbers (atoms,) of its atoms, as `prunus.shrinking.wiring` finds them for
    channels. A group's score is the sum of its atoms', it competes among those of the first tensor that has a part in
    it, and the density is that of groups. Atoms with negative numbers, and those of tensors not in `groups`, stay, and
    are not counted.

    >>> scores = {"first": torch.tensor([1.0, 4.0, 9.0]), "second": torch.tensor([2.0, 8.0])}
    >>> pairs = {"first": torch.tensor([0, 1, -1]), "second": torch.tensor([1, 0])}
    >>> {name: kept.tolist() for name, kept in together(pairs)(scores, 0.5).items()}
    {'first': [True, False, True], 'second': [False, True]}
    """

    def choose(scores: Tree, density: float) -> dict[str, Tensor]:
        found = {name: groups[name].to(score.device) for name, score in scores.items() if name in groups}
        for name, numbers in found.items():
            if numbers.shape != scores[name].shape:
                expected = tuple(scores[name].shape)
                raise PrunusError(f"{name}: groups have shape {tuple(numbers.shape)}, the atoms {expected}.")
        kept = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
        if not any((numbers >= 0).any() for numbers in found.values()):
            return kept
        members = torch.cat([numbers[numbers >= 0] for numbers in found.values()])
        distinct, places = members.unique(return_inverse=True)  # (groups,), (members,)
        values = torch.cat([scores[name][numbers >= 0] for name, numbers in found.items()]).double()
        worth = torch.zeros(len(distinct), dtype=values.dtype, device=values.device).index_add_(0, places, values)
        worth.nan_to_num_(-torch.inf, torch.inf, -torch.inf)  # what is barred, beside what is infinitely good
        tensors = torch.cat([torch.full_like(n[n >= 0], k) for k, n in enumerate(found.values())])
        first = torch.full_like(distinct, len(found)).scatter_reduce_(0, places, tensors, "amin")
        owned = {name: first == k for k, name in enumerate(found) if (first == k).any()}
        chosen = scope({name: worth[own] for name, own in owned.items()}, density)
        alive = torch.zeros_like(distinct, dtype=torch.bool)
        for name, own in owned.items():
            alive[own] = chosen[name]
        for name, numbers in found.items():
            kept[name][numbers >= 0] = alive[torch.searchsorted(distinct, numbers[numbers >= 0])]
        return kept

    return choose


def overall(densities: Mapping[str, float], values: Tree) -> float:
    """Kept / total of the whole, where each tensor of `values` has its density in `densities`."""
    check_names(densities, values)
    total = sum(value.numel() for value in values.values())
    return sum(densities[name] * value.numel() for name, value in values.items()) / total


def count(density: float, total: int) -> int:
    """`density` of `total`, rounded half up: the one rounding rule of every scope."""
    return floor(density * total + 0.5)


def apportioned(total: float, parts: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers in the proportions of `parts` that sum to `total`, rounded half up, none above its size.

    What one cannot take, the others share in their proportions.

    >>> apportioned(10, {"a": 3, "b": 1, "c": 1}, {"a": 4, "b": 9, "c": 9})
    {'a': 4, 'b': 3, 'c': 3}
    """
    full: set[str] = set()
    while True:
        rest = {name: part for name, part in parts.items() if name not in full}
        scale = (total - sum(sizes[name] for name in full)) / (sum(rest.values()) or 1)
        overfull = {name for name, part in rest.items() if scale * part > sizes[name]}
        if not overfull:
            break
        full |= overfull
    shares = {name: float(sizes[name] if name in full else scale * rest[name]) for name in parts}
    return _rounded(shares, sizes, floor(total + 0.5))


def _within(score: Tensor, density: float) -> Tensor:
    return keep_largest([score], count(density, score.numel()))[0]


def _keep(scores: Tree, counts: Mapping[str, int]) -> dict[str, Tensor]:
    return {name: keep_largest([score], counts[name])[0] for name, score in scores.items()}


def _random_graph(scores: Tree, density: float, parts: Mapping[str, int]) -> dict[str, Tensor]:
    sizes = {name: score.numel() for name, score in scores.items()}
    return _keep(scores, apportioned(density * sum(sizes.values()), parts, sizes))


def _falling(scores: Tree, density: float, last: float, parts: Sequence[float]) -> dict[str, Tensor]:
    """Keep `last` of the last tensor, and of the others parts in these proportions, falling from the first on."""
    if not 0 <= last <= 1:
        raise PrunusError(f"the part of the last tensor, {last}, is outside [0, 1].")
    others = {name: score.numel() for name, score in scores.items()}
    fixed = {name: count(last, others.pop(name)) for name in list(others)[-1:]}
    total = sum(score.numel() for score in scores.values())
    least, room = sum(fixed.values()), sum(others.values())
    wanted = count(density, total) - least
    if not 0 <= wanted <= room:
        span = f"from {least / total:.4g} to {(least + room) / total:.4g}"
        raise PrunusError(f"density {density:g} cannot be met: with {last:g} of the last tensor, it is {span}.")
    portions = {name: part * size for (name, size), part in zip(others.items(), parts, strict=True)}
    scale = wanted / max(sum(portions.values()), 1)
    shares, excess = dict[str, float](), 0.0
    for name, portion in portions.items():
        shares[name] = min(scale * portion + excess, others[name])
        excess += scale * portion - shares[name]
    return _keep(scores, fixed | _rounded(shares, others, wanted))


def _rounded(shares: Mapping[str, float], sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Whole numbers near `shares` that sum to `total`, none above its size: the largest remainders go up."""
    counts = {name: min(floor(share), sizes[name]) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: counts[name] - shares[name])
    missing = total - sum(counts.values())
    while missing > 0:
        for name in by_remainder:
            if missing and counts[name] < sizes[name]:
                counts[name] += 1
                missing -= 1
    return counts
