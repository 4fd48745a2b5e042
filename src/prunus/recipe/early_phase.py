"""The early phase of training: from which step on do tickets train well, and what of their weights do they need then?

Source: Frankle, Schwab & Morcos 2020, "The early phase of neural network training".
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

from prunus.errors import PrunusError, unknown
from prunus.laboratory import Drawn, Engine, Perturbed, Trained, serial
from prunus.progress import Progress, silent
from prunus.recipe.lottery_ticket import CONTROLS, Hunt, check_step, scene_of
from prunus.recipe.replicates import Lines, Measured, check_replicates, every_run, keep_table, measured
from prunus.store import Store
from prunus.ticket.early_phase import CHANGES


@dataclass(frozen=True)
class Plan:
    """What is decided before: a search, steps that it rewinds to, and what is done to its last ticket there.

    `changes` are names in `CHANGES` other than "noised"; `noise` are amounts of that, in standard deviations of a
    layer. Noise of 0 changes no weight: a perturbed start has forgotten the optimizer's state, and this tells what that
    alone does.
    """

    hunt: Hunt
    steps: tuple[int, ...]
    changes: tuple[str, ...] = tuple(name for name in CHANGES if name != "noised")
    noise: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)

    def __post_init__(self) -> None:
        check_replicates(self.hunt.seeds)
        if not self.steps:
            raise PrunusError("a rewinding curve takes one step at least.")
        scene_of(self.hunt, self.hunt.seeds[0], self.hunt.rounds)
        for step in self.steps:
            check_step(self.hunt.task, self.hunt.settings, step)
        for name in self.changes:
            if name not in CHANGES:
                raise unknown("change", name, CHANGES)
        for amount in self.noise:
            if not 0 <= amount < inf:
                raise PrunusError(f"noise of {amount} standard deviations: expected a finite number, 0 or more.")


@dataclass(frozen=True)
class EarlyPhase:
    """At each of `steps` the figures of the ticket, of what was done to it, and of a random network as sparse."""

    steps: tuple[int, ...]
    density: float
    dense: Measured
    lines: Mapping[str, tuple[Measured, ...]]


def replicate(plan: Plan, seed: int) -> Lines:
    """The runs of one seed: by name, one a step; putting them together trains nothing."""
    columns = [_at(plan, seed, step) for step in plan.steps]
    return {name: [column[name] for column in columns] for name in columns[0]}


def _at(plan: Plan, seed: int, step: int) -> dict[str, Trained]:
    scene = scene_of(replace(plan.hunt, step=step), seed, plan.hunt.rounds)

    def changed(change: str, amount: float = 1.0) -> Trained:
        drawn = Drawn(scene.hunt.task, seed)
        return scene.trained(start=Perturbed(scene.moment, drawn, scene.mask, change, amount, seed))

    return {
        "ticket": scene.trained(),
        **{name: changed(name) for name in plan.changes},
        **{f"noise {amount:g}": changed("noised", amount) for amount in plan.noise},
        "random": CONTROLS["random"](scene),
    }


def measure(plan: Plan, store: Store, engine: Engine = serial, progress: Progress = silent) -> EarlyPhase:
    """Train all of `plan`; what `store` holds already, as from searches for tickets, is not made again."""
    scenes = [scene_of(replace(plan.hunt, step=plan.steps[0]), seed, plan.hunt.rounds) for seed in plan.hunt.seeds]
    dense = [{"dense": [scene.dense]} for scene in scenes]
    lines = [replicate(plan, seed) for seed in plan.hunt.seeds]
    engine(store, [*every_run(dense), *every_run(lines)], progress)
    found = EarlyPhase(
        steps=plan.steps,
        density=store.metrics(scenes[0].mask)["density"],
        dense=measured(store, dense)["dense"][0],
        lines=measured(store, lines),
    )
    keep_table(
        store,
        f"The early phase: {plan.hunt.task.model} on {plan.hunt.task.data}",
        ["start", *(f"step {step:,}" for step in plan.steps)],
        found.lines,
        f"Percent right on the test part at {100 * found.density:.3g} % kept, by the step that is rewound to, mean and "
        f"deviation over {len(dense)} replicates; dense: {found.dense}.",
    )
    return found
