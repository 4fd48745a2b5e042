"""Linear mode connectivity: are two trainings of one start, in another data order each, joined by a flat line?

Source: Frankle et al. 2020, "Linear mode connectivity and the lottery ticket hypothesis", sections 2 to 4.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from prunus.errors import PrunusError
from prunus.laboratory import Connected, Drawn, Engine, Task, Trained, serial
from prunus.progress import Progress, silent
from prunus.recipe.lottery_ticket import Hunt, check_step, search
from prunus.settings import Settings
from prunus.store import Piece, Store, identity


@dataclass(frozen=True)
class Instability:
    """What training from step `step` on makes of one start, seen from two data orders.

    `barrier`, in percentage points, is the highest error on the line between the two less the mean of its ends', on the
    training and the test part; stable is what Frankle et al. call a barrier under 2 on the test part. `distance` is
    the twins', L2.
    """

    step: int
    density: float
    seed: int
    barrier_train: float
    barrier: float
    distance: float
    errors: tuple[float, float]
    path: tuple[tuple[float, float, float], ...]
    runs: tuple[str, str, str]

    @property
    def stable(self) -> bool:
        """Whether the barrier is under two points."""
        return self.barrier < 2.0


@dataclass(frozen=True, eq=False)
class Twins:
    """Two trainings from step `step` of one start, under one mask or none, and the line between them."""

    step: int
    seed: int
    mask: Piece | None
    first: Trained
    second: Trained
    line: Connected


def twins(
    task: Task, settings: Settings, step: int, seed: int, *, mask: Piece | None = None, points: int = 30
) -> Twins:
    """The pieces: weights drawn from `seed`, trained to `step` together, from there in two orders of the data."""
    check_step(task, settings, step)
    if points < 2:
        raise PrunusError(f"a path has two points at least, found {points}.")
    drawn = Drawn(task, seed)
    moment: Piece = Trained(task, drawn, settings, seed, until=step) if step else drawn
    first, second = (Trained(task, moment, settings, order, mask=mask) for order in _orders(seed))
    return Twins(step, seed, mask, first, second, Connected(task, first, second, points))


def dense_and_sparse(hunt: Hunt, steps: Sequence[int], points: int = 30) -> list[Twins]:
    """Twins of every seed at each of `steps`, dense and under the mask of the search's last round, rewound there."""
    found = []
    for seed in hunt.seeds:
        for step in steps:
            found.append(twins(hunt.task, hunt.settings, step, seed, points=points))
            if hunt.rounds:
                mask = search(replace(hunt, step=step), seed)[-1].mask
                found.append(twins(hunt.task, hunt.settings, step, seed, mask=mask, points=points))
    return found


def measure(
    pairs: Sequence[Twins], store: Store, engine: Engine = serial, progress: Progress = silent
) -> list[Instability]:
    """Train the twins and walk the lines between them; what `store` holds already is not made again."""
    engine(store, [pair.line for pair in pairs], progress)
    found = [_measured(pair, store) for pair in pairs]
    task, settings = pairs[0].line.task, pairs[0].first.settings
    store.keep_study(
        {
            "kind": "connection",
            "title": f"{task.model} on {task.data}",
            "settings": asdict(settings),
            "points": [_point(one) for one in found],
        }
    )
    return found


def _point(one: Instability) -> dict[str, Any]:
    first, second, path = one.runs
    return {"step": one.step, "density": one.density, "replicate": one.seed, "runs": [first, second], "path": path}


def _measured(pair: Twins, store: Store) -> Instability:
    metrics: dict[str, Any] = store.metrics(pair.line)
    train, test = metrics["errors"]["train"], metrics["errors"]["test"]
    return Instability(
        step=pair.step,
        density=store.metrics(pair.mask)["density"] if pair.mask else 1.0,
        seed=pair.seed,
        barrier_train=metrics["barrier"]["train"],
        barrier=metrics["barrier"]["test"],
        distance=metrics["distance"],
        errors=(test[0], test[-1]),
        path=tuple(zip(metrics["parts"], train, test, strict=True)),
        runs=(identity(pair.first), identity(pair.second), identity(pair.line)),
    )


def _orders(seed: int) -> tuple[int, int]:
    """Seeds of two data orders, other than that of the training before them."""
    return 2_000_000 + 2 * seed, 2_000_001 + 2 * seed
