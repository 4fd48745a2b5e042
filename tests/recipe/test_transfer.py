"""Tickets on other data and with other optimizers, beside the same training by hand."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest
import torch
from PIL import Image

from prunus.data import load
from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.laboratory import Task
from prunus.mask import Mask
from prunus.recipe.lottery_ticket import Hunt, hunt_tickets, search
from prunus.recipe.transfer import Plan, transfer, transferred
from prunus.report.page import write_page
from prunus.settings import Settings, make_optimizer
from prunus.store import Store, identity
from prunus.training import train

ADAM = Settings(steps=24, batch=30, learning_rate=5e-3)
SGD = replace(ADAM, optimizer="sgd", learning_rate=0.1)
KEPT = {
    "fc1.weight": 4_800,
    "fc2.weight": 7_500,
    "fc3.weight": 125,
}  # of five classes, after two rounds that halve each tensor

pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(folder: Path, digits: Sequence[int]) -> Path:
    """A data folder of these of the digits, a class each."""
    data = load("digits")
    for part, split in {"train": data.train, "test": data.test()}.items():
        for number, (image, label) in enumerate(zip(split.inputs[:400], split.labels[:400].tolist(), strict=True)):
            if label in digits:
                path = folder / part / str(label) / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((image[0] * 15).numpy()).save(path)
    return folder


def task(folder: Path | str) -> Task:
    return Task.of("lenet-300-100", str(folder), start="glorot")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def halves(tmp_path_factory) -> tuple[Task, Task, Task]:
    """Digits 0 to 4, 5 to 9, and 7 to 9 alone."""
    folder = tmp_path_factory.mktemp("data")
    first, second, third = ("first", range(5)), ("second", range(5, 10)), ("third", range(7, 10))
    return tuple(task(pictures(folder / name, digits)) for name, digits in (first, second, third))  # type: ignore[return-value]


def plan(source: Task, target: Task, **changes) -> Plan:
    hunt = Hunt(source, changes.pop("found_with", ADAM), rounds=2, keep=0.5, step=8, seeds=(0, 1))
    return Plan(hunt, target, changes.pop("settings", ADAM), **changes)


def by_hand(target: Task, settings: Settings, seed: int, start: dict, mask: Mask | None) -> tuple[dict, float]:
    """Weights after training from `start`, and percent right on test, all at once."""
    model, data = target.network(), target.read()
    model.load_state_dict(start)
    optimizer = make_optimizer(model, settings)
    with hold(optimizer, model, mask or Mask({})):
        train(model, data, settings, seed=seed, optimizer=optimizer)
    test = data.test()
    with torch.no_grad():
        right = model.eval()(test.normalise(test.inputs)).argmax(1) == test.labels
    return model.state_dict(), 100 * right.double().mean().item()


def found_by_hand(source: Task, settings: Settings, seed: int, store: Store) -> tuple[dict, Mask]:
    """Weights after the 8 steps that tickets rewind to, and the ticket's mask, which the search made."""
    model = source.network(seed)
    train(model, source.read(), settings, seed=seed, end=8)
    hunt = Hunt(source, settings, rounds=2, keep=0.5, step=8, seeds=(0, 1))
    return model.state_dict(), store.result(search(hunt, seed)[-1].mask)


def opened(mask: Mask, classes: int) -> Mask:
    return Mask({**mask, "fc3.weight": torch.ones(classes, 100, dtype=torch.bool)})


@pytest.mark.parametrize("which", ["five classes", "three classes", "optimizer"])
def test_all_runs_are_those_by_hand(halves, which, tmp_path):
    first, second, third = halves
    source, target = {"five classes": (first, second), "three classes": (first, third)}.get(which, (first, first))
    settings = SGD if which == "optimizer" else ADAM
    here, store = plan(source, target, settings=settings), Store(tmp_path)
    rows = {row.name: row for row in transfer(here, store)}
    classes = 3 if which == "three classes" else 5
    for seed in (0, 1):
        fresh = target.network(1_000_000 + seed).state_dict()
        head = {name: fresh[name] for name in ("fc3.weight", "fc3.bias")}
        ours, mask = found_by_hand(source, ADAM, seed, store)
        own, own_mask = found_by_hand(target, settings, seed, store)
        runs = transferred(here, seed)
        random = store.result(runs["random"].mask)
        ticket = opened(mask, classes)
        for name, start, kept in (
            ("dense", target.network(seed).state_dict(), None),
            ("ticket", {**ours, **head}, ticket),
            ("own", {**own, **head}, opened(own_mask, classes)),
            ("random", fresh, random),
        ):
            weights, right = by_hand(target, settings, seed, start, kept)
            result = store.result(runs[name]).weights
            assert all(torch.equal(value, result[tensor]) for tensor, value in weights.items()), name
            assert rows[name].figures["accuracy"][seed] == pytest.approx(right)
            assert rows[name].figures["density"][seed] == (kept.density if kept else 1.0)
            assert rows[name].runs[seed] == identity(runs[name])
        check_by_chance(random, ticket)


def check_by_chance(random: Mask, ticket: Mask) -> None:
    """As much of each tensor, but not the same: of two random masks of density d, d squared of all is shared."""
    for name, kept in ticket.items():
        expected = kept.numel() if name == "fc3.weight" else KEPT[name]
        assert int(kept.sum()) == int(random[name].sum()) == expected
        if name != "fc3.weight":
            shared = (expected / kept.numel()) ** 2
            deviation = sqrt(shared / kept.numel())
            assert (kept & random[name]).double().mean().item() == pytest.approx(shared, abs=5 * deviation)


def test_a_kept_output_layer_is_the_ticket_as_it_was(halves, tmp_path):
    first = halves[0]
    here, store = plan(first, first, settings=SGD, keep_output=True), Store(tmp_path)
    transfer(here, store)
    ours, mask = found_by_hand(first, ADAM, 0, store)
    run = transferred(here, 0)["ticket"]
    assert store.result(run.mask) == mask
    assert {name: int(kept.sum()) for name, kept in mask.items()} == KEPT
    weights, _ = by_hand(first, SGD, 0, ours, mask)
    assert all(torch.equal(value, store.result(run).weights[name]) for name, value in weights.items())


def test_asked_twice_it_trains_nothing(halves, tmp_path, steps):
    first, second, _ = halves
    here = plan(first, second)
    hunt_tickets(here.source, Store(tmp_path))
    before = steps()
    assert before == 2 * (8 + 3 * 16)
    rows = transfer(here, Store(tmp_path))
    # a seed: the target's own search but for its last ticket, and three whole runs
    assert steps() - before == 2 * ((8 + 2 * 16) + 3 * 24)
    assert transfer(here, Store(tmp_path)) == rows
    assert steps() - before == 2 * ((8 + 2 * 16) + 3 * 24)
    kinds = Counter(study["kind"] for study in Store(tmp_path).studies())
    assert kinds == {"tickets": 1, "table": 1}
    write_page(Store(tmp_path), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert f"A ticket from {first.data} with adam to {second.data} with adam" in page


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a, b: plan(a, task("mnist-like"), settings=ADAM), "inputs .* does not fit those of"),
        (lambda a, b: plan(a, replace(b, model="lenet-5")), "a ticket of 'lenet-300-100' does not fit 'lenet-5'"),
        (lambda a, b: plan(a, b, keep_output=True), "the output layer cannot be kept: .* have other classes"),
        (lambda a, b: Plan(Hunt(a, ADAM, 0), b, ADAM), "found 0 rounds that rewind 'weights'"),
        (lambda a, b: Plan(Hunt(a, ADAM, 1, rewind="none"), b, ADAM), "found 1 rounds that rewind 'none'"),
    ],
)
def test_plans_that_cannot_be_are_refused(halves, change, sentence, steps, tmp_path, monkeypatch):
    for part in ("train", "test"):
        for label in ("0", "1"):
            (tmp_path / "mnist-like" / part / label).mkdir(parents=True)
            for number in range(6):
                Image.new("L", (6, 6), number).save(tmp_path / "mnist-like" / part / label / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PrunusError, match=sentence):
        change(*halves[:2])
    assert steps() == 0
