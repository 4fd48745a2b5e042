"""The lottery ticket hypothesis: rounds of pruning with rewinding, over seeds, beside their controls.

Source: Frankle & Carbin 2019; Frankle et al. 2020 for rewinding to later steps; Renda et al. 2020 for the other two
rewinds; Su et al. 2020 and Frankle et al. 2021 for the controls.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prunus import parts
from prunus.errors import PrunusError, unknown
from prunus.laboratory import Drawn, Engine, Pruned, Rewound, Shuffled, Task, Trained, serial
from prunus.measures import check_measurable
from prunus.progress import Progress, silent
from prunus.settings import Settings
from prunus.store import Piece, Store, identity, specification
from prunus.ticket.find import check_parts, check_ranges, everything
from prunus.tree import weights

REWINDS = ("weights", "learning-rate", "none")


@dataclass(frozen=True)
class Hunt:
    """What is decided before a search: `rounds` in which each tensor keeps the part `keep` of what it has.

    `keeps` are parts of single tensors, as (name, part). Tickets rewind to `step`: "weights" returns to the weights
    and schedule of that step, "learning-rate" to its schedule alone, "none" goes on at the last learning rate. `seeds`
    are the replicates: each draws weights and data order of its own. `controls` are names in `CONTROLS`, each trained
    at every round, or at the rounds `controls_at`.
    """

    task: Task
    settings: Settings
    rounds: int
    keep: float = 0.8
    keeps: tuple[tuple[str, float], ...] = ()
    step: int = 0
    rewind: str = "weights"
    score: str = "magnitude"
    score_code: str | None = None
    pattern: str = "element"
    scope: str = "tensor"
    seeds: tuple[int, ...] = (0,)
    controls: tuple[str, ...] = ()
    controls_at: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise PrunusError(f"rounds must be at least 0, found {self.rounds}.")
        check_seeds(self.seeds)
        check_ranges(self.keep, dict(self.keeps))
        check_step(self.task, self.settings, self.step)
        check_measurable(parts.score_named(self.score))
        parts.pattern_named(self.pattern)
        parts.scope_named(self.scope)
        if self.rewind not in REWINDS:
            raise unknown("rewind", self.rewind, REWINDS)
        for control in self.controls:
            if control not in CONTROLS:
                raise unknown("control", control, CONTROLS)
        if beyond := [number for number in self.controls_at or () if not 1 <= number <= self.rounds]:
            raise PrunusError(f"there is no round {beyond[0]} to have controls at, only 1 to {self.rounds}.")

    def controls_of(self, number: int) -> tuple[str, ...]:
        """The controls that round `number` has."""
        return self.controls if self.controls_at is None or number in self.controls_at else ()


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise `PrunusError` unless there is a seed, and each of them once."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise PrunusError(f"a search needs at least one seed, and each of them once, found {list(seeds)}.")


def check_step(task: Task, settings: Settings, step: int) -> None:
    """Raise `PrunusError` unless training on `task` as in `settings` comes by `step`."""
    total = settings.steps_in_all(len(task.read().train))
    if not 0 <= step <= total:
        raise PrunusError(f"step {step} is no part of the {total} that the settings ask for.")


@dataclass(frozen=True, eq=False)
class Round:
    """A round of one replicate: the mask (None: dense), the run that trained it, and the runs of its controls."""

    mask: Piece | None
    ticket: Trained
    controls: Mapping[str, Trained] = field(default_factory=dict)

    def runs(self) -> Iterator[Piece]:
        """All that has to be trained for it."""
        yield self.ticket
        yield from self.controls.values()


def search(hunt: Hunt, seed: int) -> list[Round]:
    """The pieces of one replicate, dense first: putting them together trains nothing."""
    unpruned = everything(weights(hunt.task.network()))
    check_parts(unpruned, hunt.keep, dict(hunt.keeps), parts.scope_named(hunt.scope))
    drawn = Drawn(hunt.task, seed)
    moment: Piece = Trained(hunt.task, drawn, hunt.settings, seed, until=hunt.step) if hunt.step else drawn
    dense = ticket = Trained(hunt.task, moment, hunt.settings, seed)
    rounds, mask = [Round(None, dense)], None
    for number in range(1, hunt.rounds + 1):
        mask = Pruned(
            hunt.task,
            ticket,
            keep=hunt.keep,
            keeps=hunt.keeps,
            within=mask,
            initial=drawn,
            score=hunt.score,
            score_code=hunt.score_code,
            pattern=hunt.pattern,
            scope=hunt.scope,
            seed=seed,
        )
        if hunt.rewind == "weights":
            ticket = Trained(hunt.task, moment, hunt.settings, seed, mask=mask)
        elif hunt.rewind == "learning-rate":
            ticket = Trained(hunt.task, Rewound(ticket, moment), hunt.settings, seed, mask=mask)
        else:
            ticket = Trained(hunt.task, Rewound(ticket, drawn), at_last_rate(hunt.settings), seed, mask=mask)
        scene = Scene(hunt, seed, moment, dense, mask)
        rounds.append(Round(mask, ticket, {name: CONTROLS[name](scene) for name in hunt.controls_of(number)}))
    return rounds


def at_last_rate(settings: Settings) -> Settings:
    """The same training at the learning rate that `settings` end with."""
    if settings.decay == "constant":
        return replace(settings, warm_up=0)
    if settings.decay == "steps":
        return replace(
            settings, decay="constant", learning_rate=settings.learning_rate * 0.1 ** len(settings.drops), warm_up=0
        )
    raise PrunusError(f"fine-tuning needs a last learning rate, and the decay '{settings.decay}' ends at zero.")


@dataclass(frozen=True, eq=False)
class Scene:
    """What a control of one ticket may use: its mask, where its weights started, the dense run."""

    hunt: Hunt
    seed: int
    moment: Piece
    dense: Trained
    mask: Piece

    def trained(self, *, start: Piece | None = None, mask: Piece | None = None) -> Trained:
        """A run like the ticket's, with another start or another mask."""
        return Trained(self.hunt.task, start or self.moment, self.hunt.settings, self.seed, mask=mask or self.mask)

    def fresh(self) -> Drawn:
        """Weights drawn anew."""
        return Drawn(self.hunt.task, self.seed + 1_000_000)

    def by_chance(self, scope: str) -> Pruned:
        """A mask drawn by chance with the ticket's density, shared among tensors by `scope`."""
        return replace(self.found_in(self.dense, "chance"), scope=scope)

    def found_in(self, dense: Trained, score: str) -> Pruned:
        """A mask found by `score` in one shot, each tensor as dense as in the ticket."""
        pattern = self.hunt.pattern
        return Pruned(self.hunt.task, dense, like=self.mask, score=score, pattern=pattern, seed=self.seed)

    def dense_on(self, corruption: str) -> Trained:
        """The dense network trained from the first step on data that teaches nothing of the task."""
        task = self.hunt.task
        return Trained(replace(task, corrupt=corruption), Drawn(task, self.seed), self.hunt.settings, self.seed)


def scene_of(hunt: Hunt, seed: int, number: int) -> Scene:
    """What a control of the ticket of round `number`, from 1 on, may use; raises `PrunusError` where there is none."""
    rounds = search(hunt, seed)
    found = rounds[number] if 0 <= number < len(rounds) else None
    if found is None or found.mask is None or hunt.rewind != "weights":
        raise PrunusError(f"round {number} of {hunt.rounds} has no ticket that rewinds its weights.")
    return Scene(hunt, seed, found.ticket.start, rounds[0].ticket, found.mask)


CONTROLS: dict[str, Callable[[Scene], Trained]] = {
    "reinit": lambda s: s.trained(start=s.fresh()),
    "shuffle": lambda s: s.trained(mask=Shuffled(s.mask, s.seed)),
    "random": lambda s: s.trained(start=s.fresh(), mask=Shuffled(s.mask, s.seed + 1_000_000)),
    "random-ratios": lambda s: s.trained(mask=s.by_chance("network")),
    "smart-ratio": lambda s: s.trained(mask=s.by_chance("smart_ratio")),
    "inverted": lambda s: s.trained(mask=s.found_in(s.dense, "small_final")),
    "one-shot": lambda s: s.trained(mask=s.found_in(s.dense, "magnitude")),
    "corrupt-labels": lambda s: s.trained(mask=s.found_in(s.dense_on("labels"), "magnitude")),
    "corrupt-pixels": lambda s: s.trained(mask=s.found_in(s.dense_on("pixels"), "magnitude")),
}
"""What each control changes of a ticket that rewinds its weights, whatever the search rewinds; all else stays.

`reinit`: weights drawn anew. `shuffle`: kept entries at random places of their tensors. `random`: both. `random-ratios`
and `smart-ratio`: a mask by chance, its share of each tensor too, or by the rule of Su et al. 2020. `inverted`: the
smallest weights of the dense network instead of the largest, as many in each tensor. `one-shot`: the largest, without
rounds. `corrupt-labels`, `corrupt-pixels`: the largest of a network that was trained on corrupted data. Weights drawn
anew train for all steps, whichever the ticket begins from.
"""


@dataclass(frozen=True)
class Found:
    """A round over all replicates: percent right on the test part, the step of the least validation loss."""

    round: int
    density: float
    accuracy: tuple[float, ...]
    early_stop_step: tuple[int, ...]
    early_stop_accuracy: tuple[float, ...]
    controls: Mapping[str, tuple[float, ...]]
    runs: tuple[str, ...]

    @property
    def mean_early_stop_step(self) -> float:
        """The mean over the replicates."""
        return sum(self.early_stop_step) / len(self.early_stop_step)


def hunt_tickets(hunt: Hunt, store: Store, engine: Engine = serial, progress: Progress = silent) -> list[Found]:
    """Find the tickets of all replicates with their controls; what `store` holds already is not made again.

    >>> from tempfile import mkdtemp
    >>> task = Task.of("lenet-300-100", "digits", start="glorot")
    >>> hunt = Hunt(task, Settings(steps=30, batch=60), rounds=1, controls=("reinit",))
    >>> [round(found.density, 2) for found in hunt_tickets(hunt, Store(mkdtemp()))]
    [1.0, 0.8]
    """
    replicates = [search(hunt, seed) for seed in hunt.seeds]
    engine(store, [piece for rounds in replicates for found in rounds for piece in found.runs()], progress)
    store.keep_study(_study(hunt, replicates))
    return [_found(store, number, rounds) for number, rounds in enumerate(zip(*replicates, strict=True))]


def _found(store: Store, number: int, rounds: Sequence[Round]) -> Found:
    metrics = [store.metrics(found.ticket) for found in rounds]
    mask = rounds[0].mask
    return Found(
        round=number,
        density=store.metrics(mask)["density"] if mask else 1.0,
        accuracy=tuple(100 - run["error"] for run in metrics),
        early_stop_step=tuple(run["early_stop"]["step"] for run in metrics),
        early_stop_accuracy=tuple(100 - run["early_stop"]["error"] for run in metrics),
        controls={
            name: tuple(100 - store.metrics(found.controls[name])["error"] for found in rounds)
            for name in rounds[0].controls
        },
        runs=tuple(identity(found.ticket) for found in rounds),
    )


def _study(hunt: Hunt, replicates: Sequence[Sequence[Round]]) -> dict[str, Any]:
    """What a report needs to know: which runs are which round's, over the replicates."""
    return {
        "kind": "tickets",
        "title": f"{hunt.task.model} on {hunt.task.data}",
        "hunt": specification(hunt),
        "rounds": [
            {
                "round": number,
                "runs": [identity(found.ticket) for found in rounds],
                "masks": [identity(found.mask) for found in rounds if found.mask],
                "controls": {name: [identity(found.controls[name]) for found in rounds] for name in rounds[0].controls},
            }
            for number, rounds in enumerate(zip(*replicates, strict=True))
        ],
    }
