"""Methods of pruning side by side, each with the same number of training steps: which of them beats chance?

Every method has as many optimizer steps in all as the dense network, and what it spends on finding its mask counts: one
that prunes after half of them has the other half to train what is left. Methods that rewind to the start cannot do with
so few; how many they took is a column. Scores measured before training (gradients, Hessian products, flows) take no
optimizer step. Chance is the random ticket with smart ratios, of the same seed and density.

Source: Blalock et al. 2020, "What is the state of neural network pruning?", for what to report; Su et al. 2020 for the
random ticket; Frankle et al. 2021 for the checks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from prunus import parts
from prunus.errors import PrunusError
from prunus.laboratory import Engine, Packed, Task, Trained, serial
from prunus.mask import Mask
from prunus.progress import Progress, silent
from prunus.recipe.charts import keep_charts
from prunus.recipe.compared import Comparison, Row
from prunus.recipe.costs import Speed, file_bytes, share_of_multiplications, speed_of, steps_behind
from prunus.recipe.lottery_ticket import check_seeds, check_step
from prunus.recipe.methods import RANDOM, Entry, Place, method_named, smart_scope
from prunus.recipe.replicates import Measured, check_replicates, difference, keep_cells, measured
from prunus.recipe.verdict import Verdict
from prunus.settings import Settings
from prunus.store import Store
from prunus.tree import weights

USUAL = (
    "static",
    "magnitude-at-start",
    "snip",
    "grasp",
    "synflow",
    "rigl",
    "gradual",
    "magnitude-fine-tuned",
    "magnitude",
    "iterative",
)


@dataclass(frozen=True)
class Plan:
    """What is decided before: a task, how the dense network is trained, methods by name, densities, seeds.

    Tensors share a density by `scope`, where a method does not say how. Tickets rewind to step `rewind`; iterative
    pruning keeps the part `keep` or more of what it has in a round. Without `checked`, no sanity checks are trained.
    """

    task: Task
    settings: Settings
    methods: tuple[str, ...] = USUAL
    densities: tuple[float, ...] = (0.5, 0.2, 0.1, 0.05)
    seeds: tuple[int, ...] = (0, 1, 2)
    scope: str = "network"
    keep: float = 0.5
    rewind: int = 0
    checked: bool = True

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        check_replicates(self.seeds)
        check_step(self.task, self.settings, self.rewind)
        if self.total < 2 or self.rewind > self.total // 2:
            raise PrunusError(f"step {self.rewind} to rewind to is beyond half of {self.total} steps of training.")
        if not 0 < self.keep < 1:
            raise PrunusError(f"the part to keep in a round is between 0 and 1, found {self.keep}.")
        parts.scope_named(self.scope)
        self._check_densities()
        for name in self.methods:
            method_named(name)(self.place(self.densities[0], self.seeds[0]))

    def _check_densities(self) -> None:
        """Random tickets with smart ratios, which all others are compared with, have to exist."""
        if not self.densities:
            raise PrunusError("a comparison takes at least one density.")
        values = {name: weight.detach() for name, weight in weights(self.task.network()).items()}
        for density in self.densities:
            if not 0 < density < 1:
                raise PrunusError(f"density {density} is not between 0 and 1.")
            parts.scope_named(smart_scope(self.task.model))(values, density)

    @property
    def total(self) -> int:
        """The optimizer steps that every method has."""
        return self.settings.steps_in_all(len(self.task.read().train))

    @property
    def names(self) -> tuple[str, ...]:
        """All methods, each once, with chance."""
        return tuple(dict.fromkeys((*self.methods, RANDOM)))

    def place(self, density: float, seed: int) -> Place:
        """What methods are given."""
        about = (self.task, self.settings, self.total, self.densities)
        return Place(*about, density, seed, self.scope, self.keep, self.rewind)


def compare(
    plan: Plan, store: Store, engine: Engine = serial, progress: Progress = silent, *, rounds: int = 5
) -> Comparison:
    """Train all of `plan` and measure what it costs; what `store` holds already is not made again.

    Networks are timed in so many `rounds`, at last and in this process, or not at all with 0.
    """
    if rounds == 1 or rounds < 0:
        raise PrunusError(f"networks are timed in two rounds or more, or in none, found {rounds}.")
    entries = {
        (name, density): [_entry(plan, name, density, seed) for seed in plan.seeds]
        for density in sorted(plan.densities, reverse=True)
        for name in plan.names
    }
    dense = [plan.place(plan.densities[0], seed).dense for seed in plan.seeds]
    runs = [*dense, *(entry.run for some in entries.values() for entry in some)]
    others = [piece for some in entries.values() for entry in some for piece in (entry.mask, *entry.checks.values())]
    engine(store, [*runs, *others, *(Packed(plan.task, run) for run in runs)], progress)
    rows = [_row(store, *case, some) for case, some in entries.items()]
    if rounds:
        rows = [
            replace(row, speed=_speed(store, some[0].run, rounds, place, len(rows), progress))
            for place, (row, some) in enumerate(zip(rows, entries.values(), strict=True), 1)
        ]
    chance = {row.density: row.accuracy for row in rows if row.method == RANDOM}
    test = len(plan.task.read().test())
    judged = [_judged(row, chance[row.density], test) for row in rows]
    found = Comparison(
        f"Pruning methods compared: {plan.task.model} on {plan.task.data}",
        plan.total,
        measured(store, [{"dense": [run]} for run in dense])["dense"][0],
        fmean(file_bytes(store, run) for run in dense),
        tuple(sorted(judged, key=lambda row: (-row.density, -row.accuracy.mean))),
    )
    keep_cells(store, found.title, *found.table(), found.note)
    keep_charts(store, found.title, found.note, found.charts())
    return found


def _entry(plan: Plan, name: str, density: float, seed: int) -> Entry:
    entry = method_named(name)(plan.place(density, seed))
    return entry if plan.checked else Entry(entry.run, entry.mask)


def _row(store: Store, name: str, density: float, entries: Sequence[Entry]) -> Row:
    masks: list[Mask] = [store.result(entry.mask) for entry in entries]
    lines = [{"": [entry.run], **{check: [run] for check, run in entry.checks.items()}} for entry in entries]
    checks = {check: one for check, (one,) in measured(store, lines).items()}
    return Row(
        name,
        density,
        kept=fmean(mask.density for mask in masks),
        accuracy=checks.pop(""),
        checks=checks,
        steps=fmean(steps_behind(store, entry.run) for entry in entries),
        file_bytes=fmean(file_bytes(store, entry.run) for entry in entries),
        multiplications=fmean(
            share_of_multiplications(entry.run.task, store.result(entry.run), mask)
            for entry, mask in zip(entries, masks, strict=True)
        ),
        emptied=tuple(dict.fromkeys(name for mask in masks for name, part in mask.densities().items() if not part)),
    )


def _speed(store: Store, run: Trained, rounds: int, place: int, total: int, progress: Progress) -> Speed:
    found = speed_of(store, run, rounds)
    progress("timing", place, total, f"{found.ratio:.2f} times as fast as dense")
    return found


def _judged(row: Row, chance: Measured, test: int) -> Row:
    if row.method == RANDOM:
        return row
    return replace(row, verdict=Verdict(difference([row.accuracy], [chance]), len(chance.accuracy), test))
