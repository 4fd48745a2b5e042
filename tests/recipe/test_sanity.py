"""Each method's mask and each check of it against what sorting and training by hand give."""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F

from prunus.errors import PrunusError
from prunus.laboratory import Trained
from prunus.mask import Mask
from prunus.recipe.lottery_ticket import hunt_tickets, scene_of
from prunus.recipe.replicates import Measured
from prunus.recipe.sanity import CHECKS, METHODS, Plan, Sanity, check, method_named, replicate
from prunus.store import Store

from .by_hand import DIGITS, HUNT, TASK, accuracy, drawn, is_on_the_page, kept_counts, kinds, same, trained

NAMES = ("iterative", "magnitude", "movement", "large_initial", "snip", "synflow", "chance", "smart-ratio")
PLAN = Plan(HUNT, NAMES)
PRUNABLE = ("fc1.weight", "fc2.weight", "fc3.weight")

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Made:
    store: Store
    found: Sanity

    def runs(self, name: str, seed: int = 5) -> dict[str, Trained]:
        scene = scene_of(PLAN.hunt, seed, 2)
        return dict(zip(CHECKS, replicate(PLAN, scene)[name], strict=True))

    def mask(self, run: Trained) -> Mask:
        return self.store.result(run.mask)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    store = Store(tmp_path_factory.mktemp("store"))
    return Made(store, check(PLAN, store))


def gradients(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of the mean loss on the whole training part, in one go."""
    model = TASK.network(99)
    model.load_state_dict(weights)
    inputs, labels = DIGITS.train.normalise(DIGITS.train.inputs), DIGITS.train.labels
    F.cross_entropy(model(inputs), labels).backward()
    return {name: value.grad for name, value in model.named_parameters()}


@pytest.mark.parametrize("name", ["magnitude", "movement", "large_initial", "snip"])
def test_a_method_keeps_what_its_score_wants_most_and_inverted_least(made, name):
    """As much of each tensor as the search; up to the last digits of a gradient."""
    start = drawn(5)
    end = trained(start, 5).weights
    slope = gradients(start)
    worth = {
        "magnitude": lambda tensor: end[tensor].abs(),
        "movement": lambda tensor: (end[tensor] - start[tensor]).abs(),
        "large_initial": lambda tensor: start[tensor].abs(),
        "snip": lambda tensor: (start[tensor] * slope[tensor]).abs(),
    }[name]
    runs = made.runs(name)
    counts = kept_counts(made.mask(made.runs("iterative")["as it is"]))
    best, least = made.mask(runs["as it is"]), made.mask(runs["inverted"])
    assert kept_counts(best) == kept_counts(least) == counts == [3072, 4800, 490]
    for tensor in PRUNABLE:
        values, slack = worth(tensor), 1e-6 if name == "snip" else 0.0
        assert values[best[tensor]].min() >= values[~best[tensor]].max() - slack
        assert values[least[tensor]].max() <= values[~least[tensor]].min() + slack
        assert values[best[tensor]].mean() > 2 * values[least[tensor]].mean()


def test_the_search_is_a_method_whose_last_round_is_inverted(made):
    first, last = (scene_of(HUNT, 5, number) for number in (1, 2))
    runs = made.runs("iterative")
    assert made.mask(runs["as it is"]) == made.store.result(last.mask)
    before = made.store.result(first.trained()).weights
    within, least = made.store.result(first.mask), made.mask(runs["inverted"])
    for tensor, kept in least.items():
        assert not (kept & ~within[tensor]).any()
        magnitudes = before[tensor].abs()
        assert magnitudes[kept].max() <= magnitudes[within[tensor] & ~kept].min()


@pytest.mark.parametrize("name", NAMES)
def test_checks_change_one_thing_each(made, name):
    for place, seed in enumerate(HUNT.seeds):
        runs = made.runs(name, seed)
        masks = {check: made.mask(run) for check, run in runs.items()}
        assert len({tuple(kept_counts(mask)) for mask in masks.values()}) == 1
        assert masks["re-initialised"] == masks["as it is"]
        for check_name in ("shuffled", "inverted"):
            assert all(not kept.equal(masks["as it is"][tensor]) for tensor, kept in masks[check_name].items())
        for column, (check_name, run) in enumerate(runs.items()):
            start = drawn(seed + 1_000_000 if check_name == "re-initialised" else seed)
            assert same(made.store.result(run.start).weights, start)
            if seed == 5:
                end = trained(start, seed, masks[check_name]).weights
                assert same(made.store.result(run).weights, end)
                assert made.found.methods[name][column].accuracy[place] == accuracy(end)


def test_smart_ratio_shares_the_density_among_tensors_in_its_own_way(made):
    """Su et al. 2020: the last of three layers keeps 30 %, the first twice the part of the second."""
    first, second, last = made.mask(made.runs("smart-ratio")["as it is"]).densities().values()
    assert last == 0.3
    assert first / second == pytest.approx(2, rel=1e-2)
    assert made.found.density == (3072 + 4800 + 490) / 50_200


def test_shared_by_score_where_tensors_compete(tmp_path):
    """Magnitudes of all tensors in one list; inverted keeps as much of each, and so does what is shuffled."""
    plan = Plan(replace(HUNT, rounds=1, keep=0.1, keeps=(), scope="network"), ("magnitude", "chance"))
    store = Store(tmp_path)
    check(plan, store)
    scene = scene_of(plan.hunt, 5, 1)
    masks = [store.result(run.mask) for run in replicate(plan, scene)["magnitude"]]
    end = torch.cat([trained(drawn(5), 5).weights[tensor].abs().flatten() for tensor in PRUNABLE])
    kept = torch.cat([masks[0][tensor].flatten() for tensor in PRUNABLE])
    assert kept.sum() == 5020
    assert end[kept].min() >= end[~kept].max()
    assert kept_counts(masks[0]) != [1920, 3000, 100]
    assert all(kept_counts(mask) == kept_counts(masks[0]) for mask in masks)


def test_a_search_for_tickets_with_controls_leaves_the_rest_to_train(tmp_path, steps):
    store = Store(tmp_path)
    hunt_tickets(replace(HUNT, controls=("shuffle", "reinit", "one-shot")), store)
    before = steps()
    plan = Plan(HUNT, ("iterative", "magnitude"))
    first = check(plan, store)
    # of the search inverted, of one-shot magnitude all three checks
    assert steps() - before == 2 * 20 * (1 + 3)
    assert kinds(store)["Inverted"] == 4
    assert check(plan, store) == first
    assert steps() - before == 160


def test_what_a_check_takes():
    """Within replicates: 1 and 3, mean 2, error 1."""
    line = [Measured(accuracy, ("a", "b")) for accuracy in ((91.0, 93.0), (90.0, 90.0), (92.0, 94.0), (10.0, 10.0))]
    found = Sanity(0.1, line[0], {"magnitude": tuple(line)})
    shuffled, fresh = found.lost("magnitude", "shuffled"), found.lost("magnitude", "re-initialised")
    assert (shuffled.mean, shuffled.error) == (2, 1)
    assert (fresh.mean, fresh.error) == (-1, 0)


def test_the_page_shows_all_figures(made, tmp_path):
    (study,) = made.store.studies()
    assert study["columns"] == ["method", *CHECKS]
    assert [row[0] for row in study["rows"]] == list(NAMES)
    is_on_the_page(made.store, made.found.methods, tmp_path / "page.html")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hunt": replace(HUNT, seeds=(1,))}, r"two seeds at least, found \[1\]"),
        ({"hunt": replace(HUNT, rounds=0)}, "round 0 of 0 has no ticket that rewinds its weights"),
        ({"hunt": replace(HUNT, rewind="learning-rate")}, "round 2 of 2 has no ticket that rewinds its weights"),
        ({"methods": ("snap",)}, "unknown method 'snap', did you mean 'snip'"),
        ({"methods": ("tailor-at-start",)}, "unknown score 'tailor', did you mean 'taylor'"),
        ({"methods": ("momentum-at-start",)}, "this score asks for momenta, which cannot be measured"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(PrunusError, match=sentence):
        replace(PLAN, **changes)


def test_every_method_has_a_mask_as_dense_as_the_search(made):
    scene = scene_of(HUNT, 5, 2)
    for name, method in METHODS.items():
        mask = method(scene)
        made.store.make(mask)
        assert abs(made.store.result(mask).kept - 8362) <= 1, name


def test_any_score_is_a_method(made, tmp_path):
    """A person's own too, of weights as trained or as they start; its code is part of its identity."""
    path = tmp_path / "mine.py"
    path.write_text("def nearest_to_nothing(weights):\n    return {n: -w.abs() for n, w in weights.items()}\n")
    scene = scene_of(HUNT, 5, 2)
    own, built_in = f"{path}:nearest_to_nothing", "small_final"
    for ending in ("", "-at-start"):
        pieces = [method_named(name + ending)(scene) for name in (own, built_in)]
        for piece in pieces:
            made.store.make(piece)
        assert made.store.result(pieces[0]) == made.store.result(pieces[1])
        assert len(pieces[0].score_code) == 16
    assert method_named("taylor-at-start")(scene).score == method_named("snip")(scene).score == "taylor"
