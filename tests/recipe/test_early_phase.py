"""Rewound and perturbed tickets against the same by hand."""

from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch

from prunus.errors import PrunusError
from prunus.recipe.early_phase import EarlyPhase, Plan, measure, replicate
from prunus.recipe.lottery_ticket import hunt_tickets
from prunus.snapshot import Snapshot
from prunus.store import Store, identity
from prunus.ticket import find
from prunus.ticket.early_phase import CHANGES, perturbed
from prunus.ticket.noise import generator_for

from .by_hand import HUNT, SETTINGS, TASK, accuracy, drawn, is_on_the_page, kept_counts, kinds, same, trained

STEPS = (0, 8)
PLAN = Plan(HUNT, STEPS, noise=(0.0, 0.5))
NAMES = ("ticket", *(name for name in CHANGES if name != "noised"), "noise 0", "noise 0.5", "random")

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Made:
    store: Store
    found: EarlyPhase


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    store = Store(tmp_path_factory.mktemp("store"))
    return Made(store, measure(PLAN, store))


@cache
def ticket(seed: int, step: int):
    """The last round of the search by hand, rewound to `step` with the optimizer's state of that moment."""
    start = trained(drawn(seed), seed, end=step) if step else Snapshot.take(TASK.network(seed))
    *_, last = find(lambda start, mask: trained(start, seed, mask), start, rounds=2, keep=0.4, keeps=dict(HUNT.keeps))
    return last


def test_there_is_a_line_for_everything(made):
    assert tuple(made.found.lines) == NAMES
    assert all(len(line) == len(STEPS) for line in made.found.lines.values())
    assert made.found.density == (3072 + 4800 + 490) / 50_200
    assert made.found.dense.accuracy == tuple(accuracy(trained(drawn(seed), seed).weights) for seed in HUNT.seeds)


@pytest.mark.parametrize("column", range(len(STEPS)), ids=lambda column: f"step {STEPS[column]}")
@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_line_is_that_of_the_ticket_changed_by_hand(made, name, column):
    seed, place, step = HUNT.seeds[1], 1, STEPS[column]
    last = ticket(seed, step)
    if name == "ticket":
        end = last.trained.weights
    else:
        change, amount = ("noised", float(name.split()[1])) if name.startswith("noise") else (name, 1.0)
        start = perturbed(
            last.start.weights,
            drawn(seed),
            last.mask,
            change=change,
            amount=amount,
            generator=generator_for(seed, "perturbed"),
        )
        start = {**last.start.buffers, **start}
        end = trained(start, seed, last.mask, begin=step).weights
    run, figure = replicate(PLAN, seed)[name][column], made.found.lines[name][column]
    assert made.store.result(run.mask) == last.mask
    assert same(made.store.result(run).weights, end)
    assert made.store.metrics(run)["steps"] == SETTINGS.steps - step
    assert figure.runs[place] == identity(run)
    assert figure.accuracy[place] == accuracy(end)


def test_at_the_first_step_there_is_nothing_to_lose_but_places_and_exactness(made):
    first = {name: line[0].accuracy for name, line in made.found.lines.items()}
    assert first["signs"] == first["initial_signs"] == first["noise 0"] == first["ticket"]
    assert first["shuffled"] != first["ticket"] != first["noise 0.5"]


def test_later_noise_of_zero_has_lost_the_optimizers_state_alone(made):
    run, unchanged = (replicate(PLAN, 5)[name][1] for name in ("ticket", "noise 0"))
    starts = [made.store.result(one.start) for one in (run, unchanged)]
    assert same(starts[0].weights, starts[1].weights)
    assert [start.step for start in starts] == [8, 8]
    assert starts[0].optimizer is not None
    assert starts[1].optimizer is None
    assert not same(*(made.store.result(one).weights for one in (run, unchanged)))


def test_random_networks_have_other_weights_at_other_places(made):
    for column, step in enumerate(STEPS):
        run = replicate(PLAN, 5)["random"][column]
        assert same(made.store.result(run.start).weights, drawn(5 + 1_000_000))
        mask = made.store.result(run.mask)
        assert kept_counts(mask) == [3072, 4800, 490]
        assert not any(torch.equal(kept, ticket(5, step).mask[name]) for name, kept in mask.items())
        assert made.store.metrics(run)["steps"] == 20


def test_everything_is_trained_once_and_shared_with_searches_for_tickets(tmp_path, steps):
    plan = Plan(HUNT, STEPS, changes=("signs",), noise=(1.0,))
    store = Store(tmp_path)
    hunt_tickets(replace(HUNT, step=8, controls=("random",), controls_at=(2,)), store)
    before = steps()
    assert before == 2 * (8 + 3 * 12 + 20)
    first = measure(plan, store)
    # at step 0 dense, two rounds, two changes and a random one; at step 8 two changes
    assert steps() - before == 2 * (6 * 20 + 2 * 12)
    assert kinds(store)["Perturbed"] == 8
    taken = steps()
    assert measure(plan, store) == first
    assert steps() == taken


def test_the_page_shows_all_figures(made, tmp_path):
    (study,) = made.store.studies()
    assert study["columns"] == ["start", "step 0", "step 8"]
    is_on_the_page(made.store, made.found.lines, tmp_path / "page.html")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hunt": replace(HUNT, seeds=(1,))}, r"two seeds at least, found \[1\]"),
        ({"hunt": replace(HUNT, rounds=0)}, "round 0 of 0 has no ticket that rewinds its weights"),
        ({"steps": ()}, "takes one step at least"),
        ({"steps": (0, 21)}, "step 21 is no part of the 20"),
        ({"changes": ("sign",)}, "unknown change 'sign', did you mean 'signs'"),
        ({"noise": (0.5, -1.0)}, "noise of -1.0 standard deviations"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(PrunusError, match=sentence):
        replace(PLAN, **changes)
