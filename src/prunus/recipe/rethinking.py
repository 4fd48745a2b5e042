"""Rethinking the value of network pruning: is a pruned network better fine-tuned, or trained from scratch?

Source: Liu et al. 2019, "Rethinking the value of network pruning", sections 3 and 4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from prunus.errors import PrunusError, unknown
from prunus.laboratory import (
    Drawn,
    Engine,
    Pruned,
    Ranked,
    Redrawn,
    Rewound,
    Shrunk,
    Size,
    Slimmed,
    Task,
    Trained,
    serial,
    size,
)
from prunus.mask import check_density
from prunus.progress import Progress, silent
from prunus.recipe.lottery_ticket import check_seeds
from prunus.recipe.tables import Row, keep_table
from prunus.settings import Settings
from prunus.store import Piece, Store, identity
from prunus.structured.slimming import scales

UNITS = ("channels", "weights")


@dataclass(frozen=True)
class Plan:
    """What is decided before: which network is pruned, how far, and how the rest is fine-tuned.

    Of all `units` together the part `density` is kept: "channels" are removed by their BatchNorm scales after training
    with a penalty of `strength` on these (network slimming), "weights" are held at zero by their magnitudes.
    """

    task: Task
    settings: Settings
    fine_tuning: Settings
    units: str = "channels"
    density: float = 0.5
    strength: float = 1e-4
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        if self.units not in UNITS:
            raise unknown("unit", self.units, UNITS)
        check_density(self.density)
        if not self.strength >= 0:
            raise PrunusError(f"strength {self.strength} of the penalty is negative.")
        if self.units == "channels":
            scales(self.task.network())


@dataclass(frozen=True, eq=False)
class Architecture:
    """A pruned network of one seed: the dense one, its remains, fresh weights in their place, and a mask to hold."""

    dense: Slimmed | Trained
    pruned: Piece
    fresh: Piece
    mask: Piece | None


def architecture(plan: Plan, seed: int) -> Architecture:
    """The pieces of one seed that are there before anything is retrained; putting them together trains nothing."""
    task, fresh = plan.task, seed + 1_000_000
    drawn = Drawn(task, seed)
    if plan.units == "weights":
        dense = Trained(task, drawn, plan.settings, seed)
        return Architecture(dense, dense, Drawn(task, fresh), Pruned(task, dense, keep=plan.density, scope="network"))
    slimmed = Slimmed(task, drawn, plan.settings, seed, strength=plan.strength)
    pruned = Shrunk(task, slimmed, Ranked(task, slimmed, plan.density))
    return Architecture(slimmed, pruned, Redrawn(task, pruned, fresh), None)


def retrained(plan: Plan, found: Architecture, seed: int, saving: float) -> Mapping[str, Trained]:
    """The runs of a pruned network that takes `saving` times fewer multiplications than the dense one.

    `fine-tuned`: the weights that pruning left, as in `fine_tuning`. `scratch-E`: fresh ones, for as many epochs as the
    dense network had. `scratch-B`: fresh ones, for as many as that training's multiplications pay for.
    """

    def run(start: Piece, settings: Settings) -> Trained:
        return Trained(plan.task, start, settings, seed, mask=found.mask)

    return {
        "fine-tuned": run(Rewound(found.pruned, Drawn(plan.task, seed)), plan.fine_tuning),
        "scratch-E": run(found.fresh, plan.settings),
        "scratch-B": run(found.fresh, same_budget(plan.settings, saving)),
    }


def same_budget(settings: Settings, saving: float) -> Settings:
    """`settings` for `saving` times as long, to the nearest epoch, but twice at most: the convention of section 3.

    >>> same_budget(Settings(epochs=10), 1.44).epochs, same_budget(Settings(epochs=10), 7.0).epochs
    (14, 20)
    """
    longer = min(max(saving, 1.0), 2.0)
    if settings.epochs is not None:
        return replace(settings, epochs=round(longer * settings.epochs))
    return replace(settings, steps=round(longer * (settings.steps or 0)))


def rethink(plan: Plan, store: Store, engine: Engine = serial, progress: Progress = silent) -> tuple[Row, ...]:
    """Prune and retrain the networks of all seeds; what `store` holds already is not made again.

    A row's figures are percent right on test, parameters, multiplications for one input, and those of training, without
    that of the dense network which pruning began with, as a part of it.
    """
    found = {seed: architecture(plan, seed) for seed in plan.seeds}
    engine(store, [piece for one in found.values() for piece in (one.pruned, one.mask) if piece], progress)
    sizes = {seed: _sizes(plan, store, one) for seed, one in found.items()}
    saving = {seed: before.multiplications / after.multiplications for seed, (before, after) in sizes.items()}
    runs = {seed: retrained(plan, one, seed, saving[seed]) for seed, one in found.items()}
    engine(store, [run for one in runs.values() for run in one.values()], progress)
    dense = _row(
        store, "dense", [one.dense for one in found.values()], [(before, before) for before, _ in sizes.values()]
    )
    rows = (
        dense,
        *(
            _row(store, name, [one[name] for one in runs.values()], list(sizes.values()), dense.figures["steps"])
            for name in ("fine-tuned", "scratch-E", "scratch-B")
        ),
    )
    keep_table(
        store,
        f"Rethinking the value of pruning: {plan.task.model} on {plan.task.data}",
        f"{100 * plan.density:g} % of the {plan.units} kept; means and standard deviations over {len(runs)} seeds. "
        "Scratch-B trains until it has cost what the dense network did, but twice as long at most.",
        rows,
    )
    return rows


def _sizes(plan: Plan, store: Store, found: Architecture) -> tuple[Size, Size]:
    mask = store.result(found.mask) if found.mask else None
    return size(plan.task, store.result(found.dense)), size(plan.task, store.result(found.pruned), mask)


def _row(
    store: Store,
    name: str,
    runs: Sequence[Piece],
    sizes: Sequence[tuple[Size, Size]],
    steps_of_dense: Sequence[float] | None = None,
) -> Row:
    """A row of `runs`, whose networks have the second of `sizes`."""
    metrics = [store.metrics(run) for run in runs]
    steps = tuple(found["steps"] for found in metrics)
    training = (
        count * own.multiplications / (of_dense * whole.multiplications)
        for count, of_dense, (whole, own) in zip(steps, steps_of_dense or steps, sizes, strict=True)
    )
    return Row(
        name,
        {
            "accuracy": tuple(100 - found["error"] for found in metrics),
            "parameters": tuple(own.parameters for _, own in sizes),
            "multiplications": tuple(own.multiplications for _, own in sizes),
            "steps": steps,
            "training": tuple(training),
        },
        tuple(map(identity, runs)),
    )
