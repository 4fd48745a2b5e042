"""Scores and actions against the same search and the same actions by hand, and what is made of the figures."""

from dataclasses import dataclass, replace
from functools import cache

import pytest

from prunus.errors import PrunusError
from prunus.recipe.deconstruction import (
    PUBLISHED,
    RELATIONS,
    Deconstruction,
    Plan,
    deconstruct,
    replicate,
)
from prunus.recipe.lottery_ticket import hunt_tickets
from prunus.recipe.replicates import Difference, Measured
from prunus.report.page import write_page
from prunus.score import chance, magnitude, movement
from prunus.snapshot import Snapshot
from prunus.store import Store, identity
from prunus.ticket import find
from prunus.ticket.actions import KEPT, PRUNED, acted
from prunus.ticket.noise import generator_for

from .by_hand import HUNT, SETTINGS, TASK, accuracy, drawn, kinds, same, trained

CRITERIA = ("magnitude", "movement", "chance")
PLAN = Plan(HUNT, criteria=CRITERIA)

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Made:
    store: Store
    found: Deconstruction


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    store = Store(tmp_path_factory.mktemp("store"))
    return Made(store, deconstruct(PLAN, store))


@cache
def tickets(seed: int, score=magnitude):
    """The search by hand: dense, then two rounds."""
    start, keeps = Snapshot.take(TASK.network(seed)), dict(HUNT.keeps)
    return list(
        find(lambda start, mask: trained(start, seed, mask), start, rounds=2, keep=0.4, keeps=keeps, score=score)
    )


def by_chance(seed: int):
    """Scores by chance, in every round the same."""
    return lambda weights: chance(weights, generator_for(seed, "score"))


@pytest.mark.parametrize("name", CRITERIA)
def test_a_score_is_judged_by_a_search_of_its_own(made, name):
    for place, seed in enumerate(HUNT.seeds):
        score = {"magnitude": magnitude, "movement": movement, "chance": by_chance(seed)}[name]
        runs = replicate(PLAN, seed).criteria[name]
        for number, (run, ticket) in enumerate(zip(runs, tickets(seed, score)[1:], strict=True)):
            assert made.store.result(run.mask) == ticket.mask
            assert same(made.store.result(run).weights, ticket.trained.weights)
            assert made.found.criteria[name][number].accuracy[place] == accuracy(ticket.trained.weights)
            assert made.found.densities[number] == ticket.mask.density
        assert made.found.dense.accuracy[place] == accuracy(tickets(seed)[0].trained.weights)


@pytest.mark.parametrize(
    ("kept", "pruned"), [*((name, "zero") for name in KEPT), *(("rewind", name) for name in PRUNED if name != "zero")]
)
def test_an_action_is_that_of_the_same_name_on_the_mask_of_the_search(made, kept, pruned):
    seed, place = HUNT.seeds[1], 1
    dense, *rounds = tickets(seed)
    lines, figures = (
        (replicate(PLAN, seed).kept[kept], made.found.kept[kept])
        if pruned == "zero"
        else (replicate(PLAN, seed).pruned[pruned], made.found.pruned[pruned])
    )
    assert len(lines) == len(figures) == len(rounds)
    for run, figure, ticket in zip(lines, figures, rounds, strict=True):
        start = acted(
            drawn(seed),
            dense.trained.weights,
            ticket.mask,
            kept=kept,
            pruned=pruned,
            generator=generator_for(seed, "acted"),
            fresh=drawn(seed + 1_000_000),
        )
        end = trained(start, seed, ticket.mask, frozen=pruned != "zero").weights
        assert same(made.store.result(run).weights, end)
        assert figure.accuracy[place] == accuracy(end)
        assert figure.runs[place] == identity(run)
        for name, held in ticket.mask.items():
            assert (end[name] == start[name])[~held].all()
            assert (end[name] != start[name])[held].any()


def test_what_changes_nothing_is_the_ticket_itself(made):
    assert made.found.kept["rewind"] == made.found.pruned["zero"] == made.found.criteria["magnitude"]
    for name in (*KEPT, *PRUNED):
        if name not in ("rewind", "zero"):
            line = {**made.found.kept, **made.found.pruned}[name]
            assert not {run for one in line for run in one.runs} & {
                run for one in made.found.kept["rewind"] for run in one.runs
            }


def test_everything_is_trained_once(tmp_path, steps):
    plan = Plan(HUNT, CRITERIA[:2], ("rewind", "permute"), ("zero", "freeze"), actions_at=(2,))
    first = deconstruct(plan, Store(tmp_path))
    assert steps() == 20 * 2 * (1 + 2 * 2 + 2)
    assert kinds(Store(tmp_path)) == {"Drawn": 4, "Trained": 14, "Pruned": 8, "Acted": 4}
    again = deconstruct(plan, Store(tmp_path))
    assert steps() == 280
    assert again == first
    assert len(Store(tmp_path).studies()) == 4


def test_a_search_for_tickets_leaves_the_rest_to_train(tmp_path, steps):
    store = Store(tmp_path)
    searched = hunt_tickets(HUNT, store)
    before = steps()
    plan = Plan(HUNT, ("magnitude",), ("rewind",), ("zero",))
    found = deconstruct(plan, store)
    assert steps() == before
    assert [one.accuracy for one in found.criteria["magnitude"]] == [one.accuracy for one in searched[1:]]
    deconstruct(replace(plan, kept=("rewind", "signed_constant"), actions_at=(1,)), store)
    assert steps() == before + 2 * 20


def test_actions_meet_masks_even_where_no_score_of_the_plan_finds_them(tmp_path):
    plan = Plan(replace(HUNT, settings=replace(SETTINGS, steps=2)), ("chance",), ("permute",), (), actions_at=(1,))
    found = deconstruct(plan, Store(tmp_path))
    assert len(found.densities) == 2
    assert {name: len(line) for name, line in found.kept.items()} == {"permute": 1}
    assert found.verdicts() == []


# Verdicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relation", "mean", "error", "holds"),
    [
        ("better than", 1.0, 0.4, True),
        ("better than", 1.0, 0.5, False),
        ("better than", -1.0, 0.1, False),
        ("better than", 0.0, 0.0, False),
        ("like", 0.2, 0.0, True),
        ("like", -0.3, 0.1, False),
        ("like", -0.3, 0.15, True),
        ("like", 0.3, 0.1, False),
        ("no worse than", 5.0, 0.1, True),
        ("no worse than", -0.2, 0.0, True),
        ("no worse than", -0.5, 0.2, False),
        ("no worse than", -0.5, 0.25, True),
    ],
)
def test_two_standard_errors_decide(relation, mean, error, holds):
    assert RELATIONS[relation](Difference(mean, error)) is holds


def figures(*rounds: tuple[float, ...]) -> tuple[Measured, ...]:
    return tuple(Measured(accuracy, ("a", "b")) for accuracy in rounds)


def test_a_verdict_is_about_all_rounds_together():
    """Over rounds, magnitude has 98, 97 and movement 94, 95: differences 4, 2, mean 3, error 1."""
    line = figures((97.0, 96.0))
    found = Deconstruction(
        densities=(0.5, 0.25),
        rounds_of_actions=(2,),
        dense=line[0],
        criteria={
            "magnitude": figures((99.0, 98.0), (97.0, 96.0)),
            "movement": figures((98.0, 98.0), (90.0, 92.0)),
            "chance": figures((90.0, 91.0), (90.0, 91.0)),
        },
        kept={},
        pruned={"zero": line, "freeze": figures((97.0, 97.0))},
    )
    verdicts = {str(one.statement): one for one in found.verdicts()}
    assert {name: (one.measured, one.holds) for name, one in verdicts.items()} == {
        "magnitude better than movement": (Difference(3, 1), True),
        "movement better than chance": (Difference(4, 0), True),
        "zero better than freeze": (Difference(-0.5, 0.5), False),
    }


def test_every_published_statement_gets_its_verdict(made):
    names = {*CRITERIA, *KEPT, *PRUNED}
    sides = {one: {name for side in one.members() for name in side} for one in PUBLISHED}
    assert set.union(*sides.values()) - names == {"magnitude_increase", "small_final"}
    about = [one for one in PUBLISHED if sides[one] <= names]
    assert [one.statement for one in made.found.verdicts()] == about
    assert len(about) == 8
    assert all(one.relation in RELATIONS for one in PUBLISHED)


def test_groups_are_judged_by_the_mean_of_their_members(made):
    """Percent right of each replicate over four actions and two rounds, added up by hand."""
    (found,) = [one for one in made.found.verdicts() if str(one.statement) == "signed better than unsigned"]
    means = []
    for names in (
        ("redraw_signed", "permute_signed", "reshuffle_signed", "signed_constant"),
        ("redraw", "permute", "reshuffle", "random_signed_constant"),
    ):
        cells = [one.accuracy for name in names for one in made.found.kept[name]]
        means.append([sum(values) / 8 for values in zip(*cells, strict=True)])
    first, second = (signed - unsigned for signed, unsigned in zip(*means, strict=True))
    assert found.measured.mean == pytest.approx((first + second) / 2)
    assert found.measured.error == pytest.approx(abs(first - second) / 2)


# The report, and what is refused -----------------------------------------------------------------------------------


def test_the_page_shows_all_figures(made, tmp_path):
    studies = {study["title"].partition(":")[0]: study for study in made.store.studies()}
    assert studies.keys() == {"Scores", "Kept weights", "Pruned weights", "Published statements"}
    assert [row[0] for row in studies["Kept weights"]["rows"]] == list(KEPT)
    assert len(studies["Published statements"]["rows"]) == 8
    for row in studies["Scores"]["rows"]:
        for cell, one in zip(row[1:], made.found.criteria[row[0]], strict=True):
            assert cell == {"mean": one.mean, "spread": one.deviation, "runs": list(one.runs)}
    write_page(made.store, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "zero better than freeze" in page
    assert all(run in page for line in made.found.pruned.values() for one in line for run in one.runs)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hunt": replace(HUNT, seeds=(1,))}, r"two seeds at least, found \[1\]"),
        ({"hunt": replace(HUNT, rounds=0)}, "the search has to rewind to step 0"),
        ({"hunt": replace(HUNT, step=10)}, "the search has to rewind to step 0"),
        ({"hunt": replace(HUNT, rewind="learning-rate")}, "the search has to rewind to step 0"),
        ({"kept": ("rewnd",)}, "unknown mask-1 action 'rewnd', did you mean 'rewind'"),
        ({"pruned": ("freez",)}, "unknown mask-0 action 'freez', did you mean 'freeze'"),
        ({"criteria": ("magnitud",)}, "unknown score 'magnitud', did you mean 'magnitude'"),
        ({"actions_at": (3,)}, "there is no round 3 to have actions at, only 1 to 2"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(PrunusError, match=sentence):
        replace(PLAN, **changes)
