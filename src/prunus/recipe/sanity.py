"""Sanity checks: does it matter which weights a method keeps, and which values they start from?

Source: Frankle et al. 2021, "Pruning neural networks at initialization: why are we missing the mark?", sections 4
and 5; Su et al. 2020, "Sanity-checking pruning methods".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import signature

from prunus import parts, score
from prunus.errors import unknown
from prunus.laboratory import Drawn, Engine, Inverted, Iterated, Pruned, Trained, serial
from prunus.laboratory.task import code_of
from prunus.measures import check_measurable
from prunus.progress import Progress, silent
from prunus.recipe.lottery_ticket import CONTROLS, Hunt, Scene, scene_of
from prunus.recipe.replicates import (
    Difference,
    Lines,
    Measured,
    check_replicates,
    difference,
    every_run,
    keep_table,
    measured,
)
from prunus.store import Piece, Store

CHECKS = ("as it is", "shuffled", "re-initialised", "inverted")
"""A mask; its entries at random places of the same tensors; weights drawn anew; the entries that its score wants least.

All keep as much of each tensor. Of a mask that was found in rounds of training, the last round is inverted; of one
whose score was iterated, the score of the first round.
"""

Method = Callable[[Scene], Piece]
"""From what a search may use to a mask as dense as the search's own."""


def by(score: str, *, trained: bool, rounds: int = 1) -> Method:
    """What `score`, named as on the command line, keeps of the dense network's weights `trained` or as they start.

    In one shot, or in so many `rounds` with what the score asks for measured anew in each. Raises `PrunusError` for a
    score that asks for what cannot be measured.
    """
    worth = parts.score_named(score)
    check_measurable(worth)
    needs = signature(worth).parameters

    def found(scene: Scene) -> Pruned:
        pruned = Pruned(
            scene.hunt.task,
            scene.dense if trained else scene.moment,
            like=scene.mask,
            initial=Drawn(scene.hunt.task, scene.seed) if "initial" in needs else None,
            score=score,
            score_code=code_of("score", score) if ":" in score else None,
            pattern=scene.hunt.pattern,
            scope=scene.hunt.scope,
            seed=scene.seed,
        )
        return pruned if rounds == 1 else Iterated(**vars(pruned), rounds=rounds)

    return found


METHODS: dict[str, Method] = {
    "iterative": lambda scene: scene.mask,
    **{name: by(name, trained=True) for name in score.__all__ if name != "momentum"},
    "snip": by("taylor", trained=False),
    "snip-iterated": by("taylor", trained=False, rounds=100),
    "grasp": by("grasp", trained=False),
    "synflow": by("synflow", trained=False, rounds=100),
    "gradient-at-start": by("gradient", trained=False),
    "smart-ratio": lambda scene: scene.by_chance("smart_ratio"),
}
"""The search itself, every score of trained weights, and the scores that are meant for weights as they start.

`large_initial` is magnitude at the start; `smart-ratio` is chance, with the densities of Su et al. 2020. What needs
gradients while it trains, `momentum`, has no mask of its own.
"""

AT_START = "-at-start"


def method_named(text: str) -> Method:
    """A name in `METHODS`, any score as `file.py:function`, or either kind of score and "-at-start".

    >>> method_named("magnitud-at-start")
    Traceback (most recent call last):
    prunus.errors.PrunusError: unknown score 'magnitud', did you mean 'magnitude'? Valid: chance, ...
    """
    if text in METHODS:
        return METHODS[text]
    name = text.removesuffix(AT_START)
    if name == text and ":" not in text:
        raise unknown("method", text, METHODS)
    return by(name, trained=name == text)


USUAL = (
    "iterative",
    "magnitude",
    "magnitude_increase",
    "movement",
    "large_initial",
    "snip",
    "gradient-at-start",
    "chance",
)


@dataclass(frozen=True)
class Plan:
    """What is decided before: a search, whose last round says how dense all masks are, and methods by name.

    Tensors share the density as in the search where its scope is "tensor"; in any other scope, by each method's score.
    """

    hunt: Hunt
    methods: tuple[str, ...] = USUAL

    def __post_init__(self) -> None:
        check_replicates(self.hunt.seeds)
        scene_of(self.hunt, self.hunt.seeds[0], self.hunt.rounds)
        for name in self.methods:
            method_named(name)


@dataclass(frozen=True)
class Sanity:
    """Of each method the figures of the `CHECKS`, at one density."""

    density: float
    dense: Measured
    methods: Mapping[str, tuple[Measured, ...]]

    def lost(self, method: str, check: str) -> Difference:
        """What `check` takes from `method`: about nothing where it does not matter what the check changes."""
        line = self.methods[method]
        return difference(line[:1], [line[CHECKS.index(check)]])


def replicate(plan: Plan, scene: Scene) -> Lines:
    """The runs of one seed: of each method one a check; putting them together trains nothing."""
    return {name: checked(replace(scene, mask=method_named(name)(scene))) for name in plan.methods}


def checked(scene: Scene) -> list[Trained]:
    """The run of a mask as it is, and those of the other `CHECKS`."""
    return [
        scene.trained(),
        CONTROLS["shuffle"](scene),
        CONTROLS["reinit"](scene),
        scene.trained(mask=inverted_of(scene.mask)),
    ]


def inverted_of(mask: Piece) -> Inverted:
    """What the score of `mask` wants least, each tensor as dense as there: or it would empty whole layers."""
    fields = {name: value for name, value in vars(mask).items() if name != "rounds"}
    return Inverted(**{**fields, "like": mask, "scope": "tensor"})


def check(plan: Plan, store: Store, engine: Engine = serial, progress: Progress = silent) -> Sanity:
    """Train all of `plan`; what `store` holds already, as from a search for tickets, is not made again."""
    scenes = [scene_of(plan.hunt, seed, plan.hunt.rounds) for seed in plan.hunt.seeds]
    dense = [{"dense": [scene.dense]} for scene in scenes]
    methods = [replicate(plan, scene) for scene in scenes]
    engine(store, [*every_run(dense), *every_run(methods), *(scene.mask for scene in scenes)], progress)
    found = Sanity(
        density=store.metrics(scenes[0].mask)["density"],
        dense=measured(store, dense)["dense"][0],
        methods=measured(store, methods),
    )
    keep_table(
        store,
        f"Sanity checks at {100 * found.density:.3g} % kept: {plan.hunt.task.model} on {plan.hunt.task.data}",
        ["method", *CHECKS],
        found.methods,
        f"Percent right on the test part, mean and deviation over {len(scenes)} replicates, densities of tensors "
        f"shared by the scope {plan.hunt.scope}; dense: {found.dense}.",
    )
    return found
