"""Early-Bird tickets against the same by hand: epochs of the plain loop, channels as sets, networks cut by indexing."""

from dataclasses import dataclass, replace
from statistics import fmean

import pytest
import torch
import torch.nn.functional as F

from prunus.errors import PrunusError
from prunus.laboratory import Drawn, Ranked, Shrunk, Slimmed, Task, Trained
from prunus.progress import silent
from prunus.recipe.early_bird import Bird, Comparison, Plan, compare, drawn_early
from prunus.report.page import write_page
from prunus.settings import Settings, make_optimizer
from prunus.store import Bench, Store, identity
from prunus.store.lineage import drawn, lineage
from prunus.training import train

from .cutting import DIGITS, TASK, accuracy, cut, multiplications, parameters, places, same, state, trained
from .networks import Small

PER_EPOCH = 27  # 1,350 rows in batches of 50
SETTINGS = Settings(
    epochs=8, batch=50, optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, decay="steps", augment=True
)
PLAN = Plan(TASK, SETTINGS, density=0.7, strength=1e-3, window=3, threshold=0.1, seeds=(0, 1))
TOTAL = 8 * PER_EPOCH

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Made:
    store: Store
    birds: list[Bird]
    found: Comparison

    def row(self, name: str):
        (row,) = (row for row in self.found.rows if row.name == name)
        return row

    def moment(self, bird: Bird) -> int:
        return self.store.result(bird.moment).step


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = Store(tmp_path_factory.mktemp("store"))
    found = compare(PLAN, store)
    torch.set_num_threads(threads)
    return Made(store, [drawn_early(PLAN, seed) for seed in PLAN.seeds], found)


def slimmed_by_hand(seed: int, stop: bool) -> tuple[Small, int, list[set[int]]]:
    """Epoch after epoch with a penalty; the set of the 14 largest scales after each, and where they have settled."""
    model = TASK.network(seed)
    optimizer = make_optimizer(model, SETTINGS)
    history: list[set[int]] = []

    def loss(network, inputs, labels):
        scales = network.norm1.weight.abs().sum() + network.norm2.weight.abs().sum()
        return F.cross_entropy(network(inputs), labels) + 1e-3 * scales

    for epoch in range(8):
        begin = epoch * PER_EPOCH
        how = {"seed": seed, "optimizer": optimizer, "loss": loss, "begin": begin, "end": begin + PER_EPOCH}
        train(model, DIGITS, SETTINGS, **how)
        values = torch.cat([model.norm1.weight, model.norm2.weight]).abs().tolist()
        history.append(set(sorted(range(20), key=lambda k: -values[k])[:14]))
        near = [len(history[-1] ^ older) / 20 <= 0.1 for older in history[-3:-1]]
        if stop and len(near) == 2 and all(near):
            break
    return model, len(history), history


def test_the_ticket_is_drawn_when_its_channels_have_settled(made):
    for seed, bird, epoch, distances in zip(
        PLAN.seeds, made.birds, made.found.epochs, made.found.distances, strict=True
    ):
        model, expected, history = slimmed_by_hand(seed, stop=True)
        assert epoch == expected < 8, "the test needs something left to train"
        moment = made.store.result(bird.moment)
        assert moment.step == epoch * PER_EPOCH
        assert same(state(moment), model.state_dict())
        assert distances == [
            [len(kept ^ older) / 20 for older in history[max(0, number - 2) : number]]
            for number, kept in enumerate(history)
        ]
        first, second = places(made.store.result(bird.runs["early-bird"].start.mask))
        assert set(first) | {8 + channel for channel in second} == history[-1]


def test_the_penalised_run_goes_on_as_if_nobody_had_looked(made):
    model, _, _ = slimmed_by_hand(0, stop=False)
    assert same(state(made.store.result(made.birds[0].slimmed)), model.state_dict())
    assert 100 - made.store.metrics(made.birds[0].slimmed)["error"] == pytest.approx(accuracy(model))


def test_the_smaller_network_is_cut_and_trained_on(made):
    for seed, bird in zip(PLAN.seeds, made.birds, strict=True):
        run = bird.runs["early-bird"]
        model = cut(state(made.store.result(bird.moment)), *places(made.store.result(run.start.mask)))
        assert same(state(made.store.result(run.start)), model.state_dict())
        assert same(state(made.store.result(run)), trained(model, SETTINGS, seed, begin=made.moment(bird)))
        assert 100 - made.store.metrics(run)["error"] == pytest.approx(accuracy(model))


def test_the_late_ticket_has_first_weights_and_all_steps(made):
    for seed, bird in zip(PLAN.seeds, made.birds, strict=True):
        run, last = bird.runs["one-shot"], made.store.result(bird.slimmed)
        values = torch.cat([last.weights["norm1.weight"], last.weights["norm2.weight"]]).abs().tolist()
        largest = sorted(sorted(range(20), key=lambda k: -values[k])[:14])
        first, second = [k for k in largest if k < 8], [k - 8 for k in largest if k >= 8]
        model = cut(TASK.network(seed).state_dict(), first, second)
        assert same(state(made.store.result(run)), trained(model, SETTINGS, seed))


def test_controls_change_the_weights_or_the_channels(made):
    for bird in made.birds:
        ticket, reinit, random = (bird.runs[name].start for name in ("early-bird", "reinit", "random"))
        ours, fresh, chance = (made.store.result(start) for start in (ticket, reinit, random))
        sizes = {name: value.shape for name, value in state(ours).items()}
        assert {name: value.shape for name, value in state(fresh).items()} == sizes
        assert {name: value.shape for name, value in state(chance).items()} == sizes
        assert (fresh.step, chance.step) == (0, ours.step)
        assert fresh.weights["norm1.weight"].eq(1).all()
        assert fresh.buffers["norm2.running_var"].eq(1).all()
        spread = (2 / (9 * sizes["conv2.weight"][1])) ** 0.5  # He's, of the smaller network
        assert fresh.weights["conv2.weight"].std().item() == pytest.approx(spread, rel=0.3)
        kept = [places(made.store.result(start.mask)) for start in (ticket, random)]
        assert kept[0] != kept[1]
        whole = state(made.store.result(bird.moment))
        assert same(state(chance), cut(whole, *kept[1]).state_dict())


def test_figures(made):
    dense = multiplications(8, 12)
    for number, bird in enumerate(made.birds):
        early, late = (places(made.store.result(bird.runs[name].start.mask)) for name in ("early-bird", "one-shot"))
        begin = made.moment(bird)
        expected = {
            "dense": ((8, 12), TOTAL * dense),
            "early-bird": (map(len, early), begin * dense + (TOTAL - begin) * multiplications(*map(len, early))),
            "one-shot": (map(len, late), TOTAL * (dense + multiplications(*map(len, late)))),
            "reinit": (map(len, early), begin * dense + TOTAL * multiplications(*map(len, early))),
            "random": (map(len, early), begin * dense + (TOTAL - begin) * multiplications(*map(len, early))),
        }
        assert [row.name for row in made.found.rows] == list(expected)
        for name, (channels, training) in expected.items():
            figures = {figure: values[number] for figure, values in made.row(name).figures.items()}
            kept = tuple(channels)
            assert figures["parameters"] == parameters(*kept)
            assert figures["multiplications"] == multiplications(*kept)
            assert figures["training"] == pytest.approx(training / (TOTAL * dense))
            assert figures["accuracy"] == 100 - made.store.metrics(bird.runs[name])["error"]
            assert made.row(name).runs[number] == identity(bird.runs[name])


def test_asked_twice_it_trains_nothing(tmp_path, steps):
    plan = replace(PLAN, seeds=(1,))
    first = compare(plan, Store(tmp_path))
    (epoch,) = first.epochs
    rest = TOTAL - epoch * PER_EPOCH
    assert steps() == 4 * TOTAL + 2 * rest  # dense, penalised, one-shot, reinit; the ticket and that by chance
    assert compare(plan, Store(tmp_path)) == first
    assert steps() == 4 * TOTAL + 2 * rest
    assert len(Store(tmp_path).studies()) == 1


class Interrupted(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("what", ["search", "search for ever", "smaller"])
def test_killed_it_ends_with_the_same_bits(made, what, tmp_path, monkeypatch, steps):
    """Stopped after step 80 of training, by when there are three masks; from there on, not from the start."""
    bird = made.birds[0]
    piece = {
        "search": replace(bird.moment, threshold=0.0, window=5),
        "search for ever": replace(bird.moment, threshold=0.0, window=9),
        "smaller": Trained(TASK, Shrunk(TASK, Drawn(TASK, 0), bird.runs["early-bird"].start.mask), SETTINGS, 0),
    }[what]
    if what == "smaller":
        made.store.make(piece.start)
    whole = piece.make(Bench(made.store.result, tmp_path / "whole", silent))
    before = steps()

    def interrupt(title, done, total, note):
        if done >= 100:
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr("prunus.training.time.monotonic", iter(range(0, 10**6, 60)).__next__)
        with pytest.raises(Interrupted):
            piece.make(Bench(made.store.result, tmp_path / "parts", interrupt))
    assert steps() - before == 100
    again = piece.make(Bench(made.store.result, tmp_path / "parts", silent))
    assert steps() - before == whole.metrics["steps"] > 100
    assert same(state(again.result), state(whole.result))
    assert again.metrics == whole.metrics


def test_channels_that_never_settle_are_drawn_at_the_end(tmp_path):
    plan = replace(PLAN, seeds=(0,), settings=replace(SETTINGS, epochs=2))
    found = compare(plan, Store(tmp_path))
    assert found.epochs == (None,)
    assert [len(distances) for distances in found.distances[0]] == [0, 1]
    bird = drawn_early(plan, 0)
    assert Store(tmp_path).metrics(bird.runs["early-bird"])["steps"] == 0
    assert {row.name: row.figures["training"][0] for row in found.rows}["early-bird"] == 1.0


def test_the_page_shows_the_table(made, tmp_path):
    (study,) = made.store.studies()
    assert (study["kind"], study["columns"][1]) == ("table", "accuracy")
    assert study["rows"][1][1]["mean"] == fmean(made.row("early-bird").figures["accuracy"])
    write_page(made.store, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert all(run in page for row in made.found.rows for run in row.runs if len(set(row.figures["accuracy"])) > 1)
    epochs = ", ".join(map(str, made.found.epochs))
    assert f"settled after epoch {epochs}" in page


def test_the_lineage_tells_of_the_search(made):
    lines = list(drawn(lineage(made.store)))
    for bird in made.birds:
        steps, right = made.moment(bird), 100 - made.store.metrics(bird.slimmed)["error"]
        expected = {
            bird.moment: f"slimmed  {steps} steps, seed {bird.moment.seed}, to go on",
            bird.slimmed: f"slimmed  {TOTAL - steps} steps, seed {bird.slimmed.seed}: {right:.2f} % right on test",
            bird.runs["early-bird"].start.mask: "ranked   70.00 % of the channels kept",
        }
        for piece, text in expected.items():
            assert any(line.endswith(f"{identity(piece)}  {text}") for line in lines), text


def test_a_layer_that_would_lose_all_keeps_its_largest(made):
    moment = made.store.result(made.birds[0].moment)
    scales = [moment.weights[f"{norm}.weight"].abs() for norm in ("norm1", "norm2")]
    outcome = Ranked(TASK, made.birds[0].moment, 0.05).make(Bench(made.store.result, made.store.path, silent))
    best = [int(scale.argmax()) for scale in scales]
    assert places(outcome.result) == ([best[0]], [best[1]])
    assert outcome.metrics["density"] == 2 / 20


def test_a_start_of_other_inputs_is_no_smaller_network(made, tmp_path):
    """Fewer inputs look like removed channels, but the data has as many as ever."""
    store = Store(tmp_path)
    digits = Task.of("lenet-300-100", "digits")
    start = Drawn(digits, 0)
    store.make(start)
    found = store.result(start)
    fewer = replace(found, weights={**found.weights, "fc1.weight": found.weights["fc1.weight"][:, :50]})
    with pytest.raises(PrunusError, match="weights of these sizes do not run on data 'digits'"):
        digits.network_like(fewer)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": Task.of("lenet-300-100", "digits")}, "Sequential has no BatchNorm scales"),
        ({"density": 0.0}, "density 0.0 is outside"),
        ({"window": 1}, "a window has two masks at least"),
        ({"strength": -1.0}, "strength -1.0 of the penalty is negative"),
        ({"seeds": (0, 0)}, "each of them once"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes, sentence, steps):
    with pytest.raises(PrunusError, match=sentence):
        replace(PLAN, **changes)
    assert steps() == 0


def test_without_a_density_nobody_looks(tmp_path):
    piece = Slimmed(TASK, Drawn(TASK, 0), replace(SETTINGS, epochs=1), 0)
    store = Store(tmp_path)
    store.make(piece.start)
    store.make(piece)
    assert store.metrics(piece).keys() == {"steps", "error", "error_validation"}
