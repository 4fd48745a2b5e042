"""`check_scope`: what `prune` relies on in a scope."""

import torch
from torch import Tensor

from prunus.scope import Scope, count
from prunus.tree import Tree


def check_scope(scope: Scope, density: float, *, groups: int | None = None) -> None:
    """Hold `scope` to its contract at `density`, on matrices, filters, equal and constant scores.

    It returns bool tensors of the scores' names and shapes; as many as the density asks for (to within half
    an atom for each of its `groups`; by default one group, the whole network); the same on a second call; and
    only the order of the scores counts: scaling all of them, or raising those that were kept, changes nothing.
    """
    for title, scores in _examples().items():
        before = {name: score.clone() for name, score in scores.items()}
        kept = scope(scores, density)
        assert list(kept) == list(scores), f"{title}: kept {list(kept)}, scores are {list(scores)}"
        for name, score in scores.items():
            assert kept[name].shape == score.shape, f"{title}: {name} has shape {tuple(kept[name].shape)}"
            assert kept[name].dtype == torch.bool, f"{title}: {name} is {kept[name].dtype}, not bool"
            assert torch.equal(score, before[name]), f"{title}: the scope changed the scores of {name}"
        total = sum(score.numel() for score in scores.values())
        found, wanted = sum(int(mask.sum()) for mask in kept.values()), count(density, total)
        slack = 0 if groups is None else groups / 2
        assert abs(found - wanted) <= slack, f"{title}: kept {found} of {total}, density {density} asks {wanted}"
        raised = {name: score + kept[name] for name, score in scores.items()}
        for change, changed in (
            ("a second call", scores),
            ("scaling the scores by 2", {name: score * 2 for name, score in scores.items()}),
            ("raising the kept scores", raised),
        ):
            _check_same(f"{title}: {change}", kept, scope(changed, density))


def _examples() -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"matrix": (8, 16), "filters": (4, 8, 3, 3), "wide": (16, 64)}
    return {
        "distinct scores": {n: torch.randn(s, generator=generator) for n, s in shapes.items()},
        "equal scores": {n: torch.zeros(s) for n, s in shapes.items()},
        "few values": {n: torch.randint(0, 3, s, generator=generator).float() for n, s in shapes.items()},
        "half precision": {n: torch.randn(s, generator=generator).bfloat16() for n, s in shapes.items()},
    }


def _check_same(change: str, first: Tree, second: Tree) -> None:
    for name in first:
        assert torch.equal(first[name], second[name]), f"{change} changed what is kept of {name}"
