"""Methods side by side: budgets, what is compared with what, and what it costs, counted by other means."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from prunus import prune, save, scope, score
from prunus.errors import PrunusError
from prunus.laboratory import Task, Trained, serial
from prunus.mask import Mask
from prunus.recipe import bench as benches
from prunus.recipe.compared import Comparison, Row
from prunus.recipe.comparison import Plan, compare
from prunus.recipe.costs import share_of_multiplications
from prunus.recipe.methods import METHODS, Entry, method_named
from prunus.recipe.replicates import Difference
from prunus.recipe.sanity import CHECKS
from prunus.recipe.verdict import Verdict, limit
from prunus.report.page import write_page
from prunus.score import magnitude
from prunus.settings import Settings
from prunus.snapshot import Snapshot
from prunus.store import Store, identity

from .by_hand import TASK, accuracy, drawn, kept_counts, kinds, same, trained

SETTINGS = Settings(steps=20, batch=60, optimizer="adam", learning_rate=5e-3)  # as by hand
NAMES = ("rigl", "gradual", "dpf", "surgery", "magnitude-fine-tuned", "magnitude-in-rounds", "magnitude", "iterative")
PLAN = Plan(TASK, SETTINGS, NAMES, (0.3, 0.1), (3, 5))
TOTAL = 50_200  # weights

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def _hasty() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benches, "SETTLING", 0.0)
        patch.setattr(benches, "SAMPLE", 0.0)
        yield


@dataclass(frozen=True)
class Made:
    store: Store
    found: Comparison

    def row(self, method: str, density: float = 0.1) -> Row:
        (row,) = (row for row in self.found.rows if (row.method, row.density) == (method, density))
        return row

    def entry(self, method: str, density: float = 0.1, seed: int = 5) -> Entry:
        return method_named(method)(PLAN.place(density, seed))

    def end(self, run: Trained) -> dict[str, torch.Tensor]:
        return self.store.result(run).weights

    def mask(self, method: str, density: float = 0.1) -> Mask:
        return self.store.result(self.entry(method, density).mask)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, _hasty: None) -> Made:
    store = Store(tmp_path_factory.mktemp("store"))
    return Made(store, compare(PLAN, store, rounds=2))


@pytest.mark.parametrize("name", [*NAMES, "smart-ratio"])
def test_every_method_keeps_as_much_and_takes_the_steps_it_says(made, name):
    """The budget is 20 steps; a rewound ticket has a dense network behind it, iterative one of each round too."""
    for density, rounds in ((0.3, 2), (0.1, 4)):
        row = made.row(name, density)
        assert row.kept == pytest.approx(density, abs=0.5 / TOTAL) or (name == "surgery" and 0 < row.kept < density)
        assert row.steps == {"magnitude": 40, "iterative": 20 * (1 + rounds)}.get(name, 20)
        assert row.checks.keys() == set(CHECKS[1:]) - ({"inverted"} if name in ("rigl", "dpf", "surgery") else set())
        for place, seed in enumerate(PLAN.seeds):
            entry = made.entry(name, density, seed)
            assert row.accuracy.accuracy[place] == accuracy(made.end(entry.run))
            if name != "gradual":  # of its inverted, as many
                counts = {tuple(kept_counts(made.store.result(run.mask))) for run in entry.checks.values()}
                assert counts == {tuple(kept_counts(made.store.result(entry.mask)))}
    assert made.row(name).judgement == ("this is chance" if name == "smart-ratio" else str(made.row(name).verdict))


def test_fine_tuned_is_half_dense_and_half_pruned(made):
    half = trained(drawn(5), 5, end=10)
    mask = prune({name: half.weights[name] for name in made.mask("smart-ratio")}, magnitude, 0.1, scope=scope.network)
    entry = made.entry("magnitude-fine-tuned")
    assert made.store.result(entry.mask) == mask
    assert same(made.end(entry.run), trained(half, 5, mask).weights)
    assert same(made.end(entry.checks["re-initialised"]), trained(drawn(1_000_005), 5, mask).weights)
    shuffled = made.store.result(entry.checks["shuffled"].mask)
    assert same(made.end(entry.checks["shuffled"]), trained(half, 5, shuffled).weights)


def test_in_rounds_prunes_and_trains_by_turns(made):
    moment, mask = trained(drawn(5), 5, end=10), None
    for number in range(1, 6):
        weights = {name: moment.weights[name] for name in made.mask("smart-ratio")}
        mask = prune(weights, magnitude, 0.1 ** (number / 5), scope=scope.network, within=mask)
        moment = trained(moment, 5, mask, end=10 + 2 * number)
    assert made.mask("magnitude-in-rounds") == mask
    assert same(made.end(made.entry("magnitude-in-rounds").run), moment.weights)


def test_iterative_goes_through_all_densities_in_rounds_of_a_half_at_least(made):
    """1 to 0.3 in two rounds, 0.3 to 0.1 in two."""
    end, mask = trained(drawn(5), 5).weights, None
    for density in (0.3**0.5, 0.3, 0.3 * (1 / 3) ** 0.5, 0.1):
        weights = {name: end[name] for name in made.mask("smart-ratio")}
        mask = prune(weights, magnitude, density, scope=scope.network, within=mask)
        end = trained(drawn(5), 5, mask).weights
        if density == 0.3:
            assert made.mask("iterative", 0.3) == mask
    assert made.mask("iterative") == mask
    assert same(made.end(made.entry("iterative").run), end)


@pytest.mark.parametrize(("name", "begin"), [("dpf", 0), ("surgery", 10)])
def test_methods_over_training_have_three_quarters_of_the_steps_and_their_mask_the_rest(made, name, begin):
    entry = made.entry(name)
    pruned = entry.run.start
    assert made.store.metrics(pruned)["steps"] == 15 - begin
    moment = made.store.result(pruned)
    assert moment.step == 15
    mask = Mask({name: moment.weights[name] != 0 for name in made.mask("smart-ratio")})
    assert made.mask(name) == mask
    assert same(made.end(entry.run), trained(moment, 5, mask).weights)
    start = trained(drawn(5), 5, end=10).weights if begin else drawn(5)
    assert same(made.end(pruned.start), start)


@pytest.mark.parametrize("name", ["rigl", "gradual", "dpf"])
def test_masks_that_moved_are_checked_from_the_first_step(made, name):
    entry = made.entry(name)
    mask = made.store.result(entry.mask)
    assert entry.mask.trained in (entry.run, entry.run.start)
    shuffled = made.store.result(entry.checks["shuffled"].mask)
    assert kept_counts(shuffled) == kept_counts(mask)
    assert same(made.end(entry.checks["shuffled"]), trained(drawn(5), 5, shuffled).weights)
    assert same(made.end(entry.checks["re-initialised"]), trained(drawn(1_000_005), 5, mask).weights)


def test_gradual_inverted_ends_as_dense_with_what_is_smallest(made):
    entry = made.entry("gradual")
    runs = (entry.run, entry.checks["inverted"])
    best, least = (Mask(made.store.result(run).extra["mask"]) for run in runs)
    assert kept_counts(best) == kept_counts(least)
    assert {name: int(value.count_nonzero()) for name, value in made.end(entry.run).items() if name in best} == {
        name: int(kept.sum()) for name, kept in best.items()
    }
    start = drawn(5)
    for name, kept in least.items():
        assert start[name][kept].abs().mean() < start[name][best[name]].abs().mean()


def test_verdicts_are_within_replicates(made):
    row, chance = made.row("gradual"), made.row("smart-ratio")
    one, other = (a - b for a, b in zip(row.accuracy.accuracy, chance.accuracy.accuracy, strict=True))
    assert row.verdict.difference.mean == pytest.approx((one + other) / 2)
    assert row.verdict.difference.error == pytest.approx(abs(one - other) / 2)
    assert chance.verdict is None


@pytest.mark.parametrize(
    ("difference", "replicates", "rows", "text"),
    [
        ((2.6, 0.5), 3, 10_000, "better by 5.2 standard errors"),
        ((2.6, 0.5), 2, 10_000, "no better than chance"),
        ((2.1, 0.5), 3, 10_000, "no better than chance"),
        ((-2.6, 0.5), 3, 10_000, "worse by 5.2 standard errors"),
        ((1.0, 0.5), 100, 10_000, "better by 2.0 standard errors"),
        ((0.0, 0.0), 3, 10_000, "no better than chance"),
        ((-3.0, 1e-15), 6, 100, "worse by 18.0 standard errors"),  # a row is a point, the error 1 / sqrt(36)
        ((1.0, 0.0), 3, 100, "no better than chance"),  # a row each time
    ],
)
def test_verdicts_by_hand(difference, replicates, rows, text):
    assert str(Verdict(Difference(*difference), replicates, rows)) == text


def test_the_limit_is_that_of_student():
    for replicates in (*range(2, 40), 1000):
        assert limit(replicates) == pytest.approx(stats.t.ppf(0.975, replicates - 1), abs=3e-3)


def test_bytes_are_those_of_a_file_that_is_read_back(made, tmp_path):
    sizes = []
    for seed in PLAN.seeds:
        model = TASK.network()
        made.store.result(made.entry("gradual", seed=seed).run).restore_weights(model)
        save(model, tmp_path / "network.prunus")
        sizes.append((tmp_path / "network.prunus").stat().st_size)
    assert made.row("gradual").file_bytes == sum(sizes) / 2


def test_multiplications_are_as_many_as_ones_add_up_to(tmp_path):
    """A layer whose kept weights are 1, with ones for inputs and for padding, adds a one for each multiplication."""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def strided(classes):\n"
        "    first, second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, stride=2, groups=2)\n"
        "    return nn.Sequential(first, nn.ReLU(), second, nn.Flatten(), nn.Linear(54, classes))\n"
    )
    task = Task.of(f"{tmp_path / 'mine.py'}:strided", "digits")
    model = task.network(3)
    mask, start = prune(model, magnitude, 0.3), Snapshot.take(model)
    counts = {}
    for whole, kept in (("dense", Mask({n: torch.ones_like(k) for n, k in mask.items()})), ("pruned", mask)):
        first, second, last = (kept[f"{place}.weight"].double() for place in (0, 2, 4))
        counts[whole] = float(
            F.conv2d(torch.ones(1, 1, 10, 10).double(), first).sum()
            + F.conv2d(torch.ones(1, 4, 8, 8).double(), second, stride=2, groups=2).sum()
            + F.linear(torch.ones(1, 54).double(), last).sum()
        )
    assert counts["dense"] == 64 * 36 + 9 * 6 * 18 + 540
    assert share_of_multiplications(task, start, mask) == counts["pruned"] / counts["dense"]
    assert abs(share_of_multiplications(task, start, mask) - mask.density) > 0.01


def test_gem_miner_has_half_of_the_steps_for_its_mask(tmp_path):
    with pytest.raises(PrunusError, match="gem-miner takes an epoch, 22 steps, to find its mask"):
        replace(PLAN, methods=("gem-miner",))
    plan = replace(PLAN, settings=replace(SETTINGS, steps=45), methods=("gem-miner",), densities=(0.3,), checked=False)
    store = Store(tmp_path)
    rows = {row.method: row for row in compare(plan, store, rounds=0).rows}
    entry = method_named("gem-miner")(plan.place(0.3, 3))
    assert rows["gem-miner"].steps == 45
    assert store.metrics(entry.run)["steps"] == 23
    assert rows["gem-miner"].kept == pytest.approx(0.3, abs=0.5 / TOTAL)
    kept = store.result(entry.mask)
    assert not any(store.result(entry.run).weights[name][~part].any() for name, part in kept.items())


def test_asked_again_nothing_is_made_and_the_answer_is_the_same(made, steps):
    before, studies = made.store.runs(), made.store.studies()
    assert compare(PLAN, made.store, rounds=2) == made.found
    assert steps() == 0
    assert made.store.runs() == before
    assert made.store.studies() == studies
    assert kinds(made.store)["Packed"] == 2 * (1 + 2 * (len(NAMES) + 1))


def test_the_page_shows_the_table_and_all_curves(made, tmp_path):
    table, drawn_too = sorted(made.store.studies(), key=lambda study: study["kind"], reverse=True)
    assert [row[0] for row in table["rows"]] == [row.method for row in made.found.rows]
    assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert [len(chart["lines"]) for chart in drawn_too["charts"]] == [len(NAMES) + 1] * 4
    write_page(made.store, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert all(run in text for row in made.found.rows for run in row.accuracy.runs)
    assert "Against bytes of the file" in text


def test_rows_go_from_dense_to_sparse_and_from_best_to_worst(made):
    order = [(-row.density, -row.accuracy.mean) for row in made.found.rows]
    assert order == sorted(order)
    assert len(order) == 2 * (len(NAMES) + 1)


@pytest.mark.usefixtures("_hasty")
def test_where_a_method_empties_a_layer_it_is_said(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def not_the_first(weights):\n"
        "    return {name: w.abs() - 9 * name.startswith('fc1') for name, w in weights.items()}\n"
    )
    name = f"{tmp_path / 'mine.py'}:not_the_first-at-start"
    plan = replace(PLAN, methods=(name,), densities=(0.1,), checked=False)
    rows = {row.method: row for row in compare(plan, Store(tmp_path / "store"), rounds=2).rows}
    assert rows[name].emptied == ("fc1.weight",)
    assert rows[name].judgement.endswith("; fc1.weight is empty")
    assert rows[name].multiplications == pytest.approx(0.1, abs=1e-4)
    assert rows[name].checks == {}
    assert rows[name].speed.ratio > 0
    assert rows["smart-ratio"].emptied == ()


def test_any_score_prunes_at_the_start_and_after_half_of_all_steps(tmp_path):
    store, place = Store(tmp_path), PLAN.place(0.1, 5)
    for name in score.__all__:
        if name == "momentum":  # of a training that goes on: no moment has it
            continue
        masks = [method_named(f"{name}{when}")(place).mask for when in ("-fine-tuned", "-at-start")]
        serial(store, masks)
        assert [store.result(mask).kept for mask in masks] == [TOTAL // 10] * 2, name


@pytest.mark.parametrize("name", METHODS)
def test_methods_share_the_weights_they_are_drawn_from(name, steps):
    """Putting them together trains nothing; in another place it is another network."""
    plan = replace(PLAN, settings=replace(SETTINGS, steps=50))
    here, again, elsewhere = (METHODS[name](plan.place(0.1, seed)).run for seed in (5, 5, 3))
    assert identity(here) == identity(again) != identity(elsewhere)
    assert steps() == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": (1,)}, r"two seeds at least, found \[1\]"),
        ({"densities": ()}, "at least one density"),
        ({"densities": (0.1, 1.0)}, "density 1.0 is not between 0 and 1"),
        ({"densities": (0.001,)}, "density 0.001 cannot be met: with 0.3 of the last tensor"),
        ({"methods": ("snap",)}, "unknown method 'snap', did you mean 'snip'"),
        ({"methods": ("magnitud-in-rounds",)}, "unknown score 'magnitud', did you mean 'magnitude'"),
        ({"scope": "netwrok"}, "unknown scope 'netwrok'"),
        ({"keep": 1.0}, "between 0 and 1, found 1.0"),
        ({"rewind": 11}, "step 11 to rewind to is beyond half of 20"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(PrunusError, match=sentence):
        replace(PLAN, **changes)


def test_timing_takes_two_rounds(tmp_path: Path):
    with pytest.raises(PrunusError, match="two rounds or more, or in none, found 1"):
        compare(PLAN, Store(tmp_path), rounds=1)
