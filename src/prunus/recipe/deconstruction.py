"""Deconstructing lottery tickets: which scores find them, and what their kept and pruned weights have to start from.

Source: Zhou et al. 2019, "Deconstructing lottery tickets: zeros, signs, and the supermask", sections 2 to 4. Theirs
finds masks anew for every action; here all actions meet the masks of one search, so that they alone differ.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prunus.errors import PrunusError, unknown
from prunus.laboratory import Acted, Engine, Trained, serial
from prunus.progress import Progress, silent
from prunus.recipe.lottery_ticket import Hunt, Scene, scene_of, search
from prunus.recipe.replicates import (
    Difference,
    Lines,
    Measured,
    check_replicates,
    difference,
    every_run,
    keep_cells,
    keep_table,
    measured,
)
from prunus.store import Piece, Store
from prunus.ticket.actions import KEPT, PRUNED

CRITERIA = (
    "magnitude",
    "small_final",
    "large_initial",
    "small_initial",
    "large_initial_large_final",
    "small_initial_small_final",
    "magnitude_increase",
    "movement",
    "chance",
)
"""Scores of the paper's figure 3; "magnitude" is its large final."""

GROUPS = {
    "signed": ("redraw_signed", "permute_signed", "reshuffle_signed", "signed_constant"),
    "unsigned": ("redraw", "permute", "reshuffle", "random_signed_constant"),
}
"""Mask-1 actions that keep the signs, and the same ones that do not."""

_ALIKE = 0.2  # points: nearer than that is as good, as in Frankle et al. 2020


@dataclass(frozen=True)
class Plan:
    """What is decided before: a search that rewinds to the first step, and what to put in place of its parts.

    `criteria` are scores, each of which has the whole search; `kept` and `pruned` are mask-1 and mask-0 actions, which
    the masks of the search as it is go through at every round, or at the rounds `actions_at`.
    """

    hunt: Hunt
    criteria: tuple[str, ...] = CRITERIA
    kept: tuple[str, ...] = tuple(KEPT)
    pruned: tuple[str, ...] = tuple(PRUNED)
    actions_at: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_replicates(self.hunt.seeds)
        if self.hunt.rounds < 1 or self.hunt.step or self.hunt.rewind != "weights":
            raise PrunusError("the actions change what a network is born with: the search has to rewind to step 0.")
        for kind, names, there in (("mask-1 action", self.kept, KEPT), ("mask-0 action", self.pruned, PRUNED)):
            for name in names:
                if name not in there:
                    raise unknown(kind, name, there)
        for score in self.criteria:
            _by(self.hunt, score)
        if beyond := [number for number in self.actions_at or () if not 1 <= number <= self.hunt.rounds]:
            raise PrunusError(f"there is no round {beyond[0]} to have actions at, only 1 to {self.hunt.rounds}.")

    @property
    def rounds_of_actions(self) -> tuple[int, ...]:
        """The rounds whose masks go through the actions."""
        return self.actions_at or tuple(range(1, self.hunt.rounds + 1))


@dataclass(frozen=True, eq=False)
class Replicate:
    """The runs of one seed: of criteria one a round, of actions one at each round that has them."""

    masks: Sequence[Piece]
    dense: Lines
    criteria: Lines
    kept: Lines
    pruned: Lines

    def runs(self) -> Iterator[Piece]:
        """All that has to be made."""
        yield from self.masks
        yield from every_run([self.dense, self.criteria, self.kept, self.pruned])


def replicate(plan: Plan, seed: int) -> Replicate:
    """The pieces of one seed: putting them together trains nothing."""
    scenes = [scene_of(plan.hunt, seed, number) for number in range(1, plan.hunt.rounds + 1)]
    chosen = [scenes[number - 1] for number in plan.rounds_of_actions]
    return Replicate(
        masks=[scene.mask for scene in scenes],
        dense={"dense": [scenes[0].dense]},
        criteria={
            score: [found.ticket for found in search(_by(plan.hunt, score), seed)[1:]] for score in plan.criteria
        },
        kept={name: [_acted(scene, kept=name) for scene in chosen] for name in plan.kept},
        pruned={name: [_acted(scene, pruned=name) for scene in chosen] for name in plan.pruned},
    )


def _by(hunt: Hunt, score: str) -> Hunt:
    return hunt if score == hunt.score else replace(hunt, score=score, score_code=None)


def _acted(scene: Scene, kept: str = "rewind", pruned: str = "zero") -> Trained:
    """The ticket after these actions; which weights moved toward zero is read off the dense network.

    The network that a later round was found in cannot tell: what had been pruned before did not move there.
    """
    if (kept, pruned) == ("rewind", "zero"):
        return scene.trained()
    start = Acted(scene.moment, scene.mask, kept, pruned, scene.dense, scene.fresh(), scene.seed)
    return replace(scene.trained(start=start), frozen=pruned != "zero")


@dataclass(frozen=True)
class Statement:
    """What was published: networks after `first` are "better than", "like" or "no worse than" those after `second`.

    Both are scores, actions, or names in `GROUPS`, of which the mean over the members counts.
    """

    first: str
    relation: str
    second: str

    def __str__(self) -> str:
        return f"{self.first} {self.relation} {self.second}"

    def members(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The scores or actions on both sides."""
        return GROUPS.get(self.first, (self.first,)), GROUPS.get(self.second, (self.second,))


RELATIONS: dict[str, Callable[[Difference], bool]] = {
    "better than": lambda found: found.mean > 2 * found.error,
    "like": lambda found: abs(found.mean) <= max(2 * found.error, _ALIKE),
    "no worse than": lambda found: found.mean >= -max(2 * found.error, _ALIKE),
}
"""When a difference bears a statement out: two standard errors decide, and less than 0.2 points is none.

A "like" with a wide error says no more than that no difference was seen.
"""

PUBLISHED = (
    Statement("magnitude", "like", "magnitude_increase"),
    Statement("magnitude", "better than", "movement"),
    Statement("magnitude_increase", "better than", "movement"),
    Statement("movement", "better than", "chance"),
    Statement("chance", "better than", "small_final"),
    Statement("signed", "like", "rewind"),
    Statement("signed", "better than", "unsigned"),
    Statement("zero", "better than", "freeze"),
    Statement("freeze_zero_mask", "better than", "freeze"),
    Statement("freeze_zero_mask", "like", "zero"),
    Statement("freeze_zero_all", "no worse than", "zero"),
)
"""What figures 3 to 5 of the paper are read as."""


@dataclass(frozen=True)
class Verdict:
    """A statement, the difference that was measured, over all rounds together, and whether it bears that out."""

    statement: Statement
    measured: Difference
    holds: bool


@dataclass(frozen=True)
class Deconstruction:
    """All figures: `densities` of rounds 1 on; lines of criteria have a place a round, those of actions fewer."""

    densities: tuple[float, ...]
    rounds_of_actions: tuple[int, ...]
    dense: Measured
    criteria: Mapping[str, tuple[Measured, ...]]
    kept: Mapping[str, tuple[Measured, ...]]
    pruned: Mapping[str, tuple[Measured, ...]]

    def verdicts(self) -> list[Verdict]:
        """What became of the published statements about what was measured."""
        lines = {**self.criteria, **self.kept, **self.pruned}
        return [_judged(one, lines) for one in PUBLISHED if lines.keys() >= {*sum(one.members(), ())}]


def deconstruct(plan: Plan, store: Store, engine: Engine = serial, progress: Progress = silent) -> Deconstruction:
    """Train all of `plan`; what `store` holds already, as from a search for tickets, is not made again."""
    replicates = [replicate(plan, seed) for seed in plan.hunt.seeds]
    engine(store, [run for one in replicates for run in one.runs()], progress)
    found = Deconstruction(
        densities=tuple(store.metrics(mask)["density"] for mask in replicates[0].masks),
        rounds_of_actions=plan.rounds_of_actions,
        dense=measured(store, [one.dense for one in replicates])["dense"][0],
        criteria=measured(store, [one.criteria for one in replicates]),
        kept=measured(store, [one.kept for one in replicates]),
        pruned=measured(store, [one.pruned for one in replicates]),
    )
    _keep(plan, found, store)
    return found


def _judged(statement: Statement, lines: Mapping[str, tuple[Measured, ...]]) -> Verdict:
    first, second = ([one for name in side for one in lines[name]] for side in statement.members())
    found = difference(first, second)
    return Verdict(statement, found, RELATIONS[statement.relation](found))


def _keep(plan: Plan, found: Deconstruction, store: Store) -> None:
    """Four tables for the report."""
    where = f"{plan.hunt.task.model} on {plan.hunt.task.data}"
    right = (
        f"Percent right on the test part, mean and deviation over {len(plan.hunt.seeds)} replicates; "
        f"dense: {found.dense}."
    )
    rounds = [f"{100 * density:.3g} % kept" for density in found.densities]
    chosen = [rounds[number - 1] for number in found.rounds_of_actions]
    keep_table(store, f"Scores: {where}", ["score", *rounds], found.criteria, right)
    keep_table(store, f"Kept weights: {where}", ["mask-1 action", *chosen], found.kept, right)
    keep_table(store, f"Pruned weights: {where}", ["mask-0 action", *chosen], found.pruned, right)
    rows: list[list[Any]] = [
        [
            str(one.statement),
            {"mean": one.measured.mean, "spread": one.measured.error, "runs": []},
            "yes" if one.holds else "no",
        ]
        for one in found.verdicts()
    ]
    note = (
        "Differences in points of accuracy, mean over the rounds, and their standard error over the replicates. "
        + " ".join(f"{name.capitalize()}: {', '.join(members)}." for name, members in GROUPS.items())
    )
    keep_cells(store, f"Published statements: {where}", ["statement", "difference", "holds"], rows, note)
