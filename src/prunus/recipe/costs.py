"""What a pruned network costs: bytes of its file, multiplications, training steps, and measured time."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from prunus.laboratory import Packed, Supermasked, Task, Trained, size
from prunus.laboratory.engine import one_thread
from prunus.mask import Mask
from prunus.recipe.bench import race
from prunus.snapshot import Snapshot
from prunus.sparse import sparsify
from prunus.store import Piece, Store, identity
from prunus.store.identity import parents
from prunus.ticket.noise import quiet

FASTER = "times as fast"
BATCH = 64


@dataclass(frozen=True)
class Speed:
    """Times the speed of dense layers, as measured on the network of one run: the median, and half a quartile range."""

    ratio: float
    spread: float
    run: str

    def cell(self) -> dict[str, Any]:
        """As a table of a study has it."""
        return {"mean": self.ratio, "spread": self.spread, "runs": [self.run]}


def steps_behind(store: Store, run: Trained) -> int:
    """Optimizer steps of all trainings that `run` stands on, its own too, each once."""
    steps = 0
    for piece in _ancestry(run):
        if isinstance(piece, Supermasked):
            steps += piece.settings.steps_in_all(len(piece.task.read().train))
        else:
            steps += store.metrics(piece).get("steps", 0)
    return steps


def file_bytes(store: Store, run: Trained) -> int:
    """Bytes of the `.prunus` file of a run whose `Packed` is in the store."""
    return int(store.metrics(Packed(run.task, run))["file_bytes"])


def share_of_multiplications(task: Task, found: Snapshot, mask: Mask) -> float:
    """Multiplications for one input of what `mask` keeps, in parts of those of the dense network: theoretical FLOPs.

    Source: Blalock et al. 2020, "What is the state of neural network pruning?", section 6 (theoretical speedup).
    """
    return size(task, found, mask).multiplications / size(task, found).multiplications


def speed_of(store: Store, run: Trained, rounds: int) -> Speed:
    """Time the network of `run` on a batch of 64, on one thread, with the sparse layers that `sparsify` finds faster.

    What an earlier study in `store` has measured of this run is not measured again.
    """
    return _measured_before(store, identity(run)) or _measure(store, run, rounds)


def _measure(store: Store, run: Trained, rounds: int) -> Speed:
    found = store.result(run)
    with quiet():
        model = run.task.network_like(found)
    found.restore_weights(model)
    model.requires_grad_(False).eval()
    inputs, _ = next(run.task.read().train.batches(BATCH, most=1))
    sparse = deepcopy(model)
    with one_thread():
        sparsify(sparse, Mask.of_nonzero(model), example=inputs)
        low, middle, high = race({"dense": model, "sparse": sparse}, inputs, rounds=rounds)["sparse"].ratio
    return Speed(middle, (high - low) / 2, identity(run))


def _measured_before(store: Store, run: str) -> Speed | None:
    for study in store.studies():
        if FASTER in study.get("columns", ()):
            place = study["columns"].index(FASTER)
            for row in study["rows"]:
                cell = row[place]
                if isinstance(cell, dict) and cell["runs"] == [run]:
                    return Speed(cell["mean"], cell["spread"], run)
    return None


def _ancestry(piece: Piece) -> Iterator[Piece]:
    """`piece` and all that it stands on, each once."""
    seen: set[str] = set()
    stack = [piece]
    while stack:
        here = stack.pop()
        if identity(here) not in seen:
            seen.add(identity(here))
            yield here
            stack += parents(here)
