"""Pieces made without a store, and what is independent of them to compare with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.data import Split
from prunus.laboratory import Task
from prunus.mask import Mask
from prunus.progress import silent
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece

NETWORKS = Path(__file__).with_name("networks.py")
NOISY = Task.of(f"{NETWORKS}:noisy", "digits")
PLAIN = Task.of(f"{NETWORKS}:plain", "digits")


@dataclass(frozen=True, eq=False)
class Given:
    """A parent that is simply there; `name` stands for it in what identities are made of."""

    what: Any = field(metadata={"place": True})
    name: str = ""

    def make(self, bench: Bench) -> Outcome:
        raise AssertionError("it is there")


def make(piece: Piece, folder: Path | None = None, progress: Callable[..., None] = silent) -> Outcome:
    """What `piece` becomes, whose parents are all given; with `folder`, unfinished work is kept there."""
    return piece.make(Bench(lambda parent: parent.what, (folder or Path("/nowhere")) / "unfinished", progress))  # type: ignore[attr-defined]


def snapshot(weights: dict[str, Tensor], **others: Any) -> Snapshot:
    """A snapshot of these weights and nothing else."""
    nothing = {"buffers": {}, "optimizer": None, "step": 0, "random": {}, "order": None, "extra": {}}
    return Snapshot(weights=weights, **(nothing | others))


def same(first: Any, second: Any) -> bool:
    """Whether two states hold the same, tensors by their bits."""
    if isinstance(first, Tensor):
        return first.shape == second.shape and first.numpy().tobytes() == second.numpy().tobytes()
    if isinstance(first, Snapshot):
        return same(vars(first), vars(second))
    if isinstance(first, Mask):
        return same(dict(first), dict(second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[name]) for name, value in first.items())
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return bool(first == second)


@torch.no_grad()
def score(model: nn.Module, split: Split) -> tuple[float, float]:
    """Percent wrong and mean cross-entropy on the whole of `split` at once."""
    model.eval()
    logits = model((split.inputs.float() - split.offset[:, None, None]) / split.scale[:, None, None])
    wrong = (logits.argmax(1) != split.labels).double().mean()
    return 100 * float(wrong), float(F.cross_entropy(logits, split.labels))


def network(task: Task, found: Snapshot) -> nn.Module:
    """The network of `task` with the weights and buffers of `found`."""
    model = task.network()
    model.load_state_dict({**found.weights, **found.buffers})
    return model


def largest(values: list[float], count: int) -> set[int]:
    """The places of the `count` largest values; of equal ones, the first."""
    return set(sorted(range(len(values)), key=lambda place: (-values[place], place))[:count])


def places(mask: Mask) -> dict[str, set[int]]:
    """The places that `mask` keeps, by name."""
    return {name: set(kept.flatten().nonzero().flatten().tolist()) for name, kept in mask.items()}
