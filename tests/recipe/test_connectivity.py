"""Twins: one start, two orders of the data, and the line between what becomes of them."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.laboratory import MaskFile, Task
from prunus.mask import Mask
from prunus.recipe.connectivity import Instability, Twins, dense_and_sparse, measure, twins
from prunus.recipe.lottery_ticket import Hunt, hunt_tickets, search
from prunus.report.page import write_page
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot
from prunus.store import Store, identity
from prunus.ticket import connect
from prunus.training import train

TASK = Task.of("lenet-300-100", "digits", start="glorot")
DIGITS = TASK.read()
SETTINGS = Settings(steps=24, batch=60, optimizer="adam", learning_rate=5e-3, decay="cosine")
HUNT = Hunt(TASK, SETTINGS, rounds=1, keep=0.3, seeds=(0, 1))

pytestmark = pytest.mark.usefixtures("one_thread")


def weights(store: Store, piece) -> dict[str, Tensor]:
    return store.result(piece).weights


def by_hand(step: int, seed: int, order: int, mask: Mask | None = None) -> dict[str, Tensor]:
    """The weights of one twin, by the training loop alone: the first steps in the order of `seed`."""
    model = TASK.network(seed)
    optimizer = make_optimizer(model, SETTINGS)
    train(model, DIGITS, SETTINGS, seed=seed, optimizer=optimizer, end=step)
    with hold(optimizer, model, mask or Mask({})):
        train(model, DIGITS, SETTINGS, seed=order, optimizer=optimizer, begin=step)
    return Snapshot.take(model).weights


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[Store, list[Twins], list[Instability]]:
    """Dense and sparse twins of two seeds that part at step 0 and at step 10."""
    store = Store(tmp_path_factory.mktemp("store"))
    pairs = dense_and_sparse(HUNT, (0, 10), points=5)
    return store, pairs, measure(pairs, store)


def test_there_are_dense_and_sparse_twins_of_every_seed_and_step(measured):
    _, pairs, found = measured
    for one, pair in zip(found, pairs, strict=True):
        assert (one.step, one.seed, one.density < 1) == (pair.step, pair.seed, pair.mask is not None)
        assert one.runs == (identity(pair.first), identity(pair.second), identity(pair.line))
    expected = [(step, seed, density) for seed in (0, 1) for step in (0, 10) for density in (1.0, 0.3)]
    assert [(one.step, one.seed, one.density) for one in found] == expected


def test_twins_share_their_first_steps_and_no_order_afterwards(measured):
    store, pairs, _ = measured
    for pair in pairs:
        orders = {pair.first.seed, pair.second.seed}
        assert len(orders | {pair.seed}) == 3, "three orders of the data"
        mask = store.result(pair.mask) if pair.mask else None
        for twin in (pair.first, pair.second):
            assert same(weights(store, twin), by_hand(pair.step, pair.seed, twin.seed, mask))
        assert not same(weights(store, pair.first), weights(store, pair.second))


def test_no_two_twins_see_the_same_order(measured):
    _, pairs, _ = measured
    dense = [pair for pair in pairs if pair.mask is None and pair.step == 0]
    assert len({twin.seed for pair in dense for twin in (pair.first, pair.second)}) == 4
    assert {twin.seed for pair in pairs for twin in (pair.first, pair.second)} == {
        twin.seed for pair in dense for twin in (pair.first, pair.second)
    }


def test_sparse_twins_hold_the_mask_of_the_last_round_rewound_to_that_step(measured):
    store, pairs, _ = measured
    sparse = [pair for pair in pairs if pair.mask]
    assert len(sparse) == 4
    for pair in sparse:
        assert identity(pair.mask) == identity(search(replace(HUNT, step=pair.step), pair.seed)[-1].mask)
        mask = store.result(pair.mask)
        assert all(density == pytest.approx(0.3, abs=1e-3) for density in mask.densities().values())
        for twin in (pair.first, pair.second):
            for name, kept in mask.items():
                trained = weights(store, twin)[name]
                assert trained[~kept].count_nonzero() == 0
                assert trained[kept].count_nonzero() == kept.sum()
    assert store.result(sparse[0].mask) != store.result(sparse[2].mask), "each seed has its own"


def test_figures_are_those_of_a_direct_call(measured):
    store, pairs, found = measured
    splits = {"train": DIGITS.train, "test": DIGITS.test()}
    for pair, one in zip(pairs[:3], found[:3], strict=True):
        path = connect(TASK.network(9), weights(store, pair.first), weights(store, pair.second), splits, points=5)
        assert one.path == tuple(zip(path.parts, path.errors["train"], path.errors["test"], strict=True))
        assert one.barrier == path.barrier("test") == max(path.errors["test"]) - sum(one.errors) / 2
        assert one.barrier_train == path.barrier("train")
        assert one.errors == (path.errors["test"][0], path.errors["test"][-1])
        assert one.distance == path.distance > 0
    assert len({one.barrier for one in found}) > 1


def test_twins_that_part_at_the_end_are_one(tmp_path):
    (one,) = measure([twins(TASK, SETTINGS, 24, 0, points=3)], Store(tmp_path))
    assert (one.barrier, one.barrier_train, one.distance) == (0, 0, 0)
    assert one.errors[0] == one.errors[1]
    assert one.stable


def test_twins_that_part_later_end_nearer(tmp_path):
    early, late = measure([twins(TASK, SETTINGS, step, 0, points=2) for step in (0, 22)], Store(tmp_path))
    assert 0 < late.distance < early.distance / 2


def test_asked_twice_it_trains_nothing(tmp_path, steps):
    pairs = dense_and_sparse(replace(HUNT, seeds=(0,)), (10,), points=3)
    first = measure(pairs, Store(tmp_path))
    # the way to step 10; from there the dense network that the mask is found in, and four twins
    assert steps() == 10 + 14 + 4 * 14
    kinds = Counter(Store(tmp_path).specification_of(run)["kind"] for run in Store(tmp_path).runs())
    assert kinds == {"Drawn": 1, "Trained": 6, "Pruned": 1, "Connected": 2}
    again = measure(dense_and_sparse(replace(HUNT, seeds=(0,)), (10,), points=3), Store(tmp_path))
    assert steps() == 80
    assert again == first
    assert len(Store(tmp_path).studies()) == 1


def test_a_search_before_leaves_the_twins_alone_to_train(tmp_path, steps):
    store, whole = Store(tmp_path), replace(HUNT, seeds=(0,), step=10)
    hunt_tickets(whole, store)
    before = steps()
    measure(dense_and_sparse(whole, (10,), points=2), store)
    assert steps() - before == 4 * 14


def test_no_rounds_mean_dense_twins_alone():
    pairs = dense_and_sparse(replace(HUNT, rounds=0), (0, 5))
    assert [(pair.seed, pair.step, pair.mask) for pair in pairs] == [
        (0, 0, None),
        (0, 5, None),
        (1, 0, None),
        (1, 5, None),
    ]


def test_twins_under_a_mask_from_a_file(tmp_path):
    generator = torch.Generator().manual_seed(0)
    mask = Mask({"fc1.weight": torch.rand(300, 64, generator=generator) < 0.25})
    mask.save(tmp_path / "mask.safetensors")
    store = Store(tmp_path / "store")
    pair = twins(TASK, SETTINGS, 4, 0, mask=MaskFile.at(tmp_path / "mask.safetensors"), points=2)
    (one,) = measure([pair], store)
    assert one.density == mask.density
    assert same(weights(store, pair.second), by_hand(4, 0, pair.second.seed, mask))


def test_the_study_names_all_that_a_report_shows(measured, tmp_path):
    store, _, found = measured
    (study,) = store.studies()
    assert (study["kind"], study["title"]) == ("connection", "lenet-300-100 on digits")
    assert len(study["points"]) == 8
    for point, one in zip(study["points"], found, strict=True):
        assert (point["step"], point["density"], point["replicate"]) == (one.step, one.density, one.seed)
        assert (*point["runs"], point["path"]) == one.runs
        metrics = store.metrics_of(point["path"])
        assert metrics["barrier"] == {"train": one.barrier_train, "test": one.barrier}
        assert list(zip(metrics["parts"], metrics["errors"]["train"], metrics["errors"]["test"], strict=True)) == [
            *one.path
        ]
    write_page(store, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert all(one.runs[2] in page for one in found)


@pytest.mark.parametrize(("barrier", "stable"), [(-1.0, True), (0.0, True), (1.999, True), (2.0, False), (30.0, False)])
def test_stable_is_a_barrier_under_two_points_on_test(barrier, stable):
    one = Instability(0, 1.0, 0, 50.0, barrier, 1.0, (1.0, 1.0), (), ("a", "b", "c"))
    assert one.stable is stable


@pytest.mark.parametrize(
    ("step", "points", "sentence"),
    [
        (-1, 30, "step -1 is no part of the 24 that the settings ask for"),
        (25, 30, "step 25 is no part of the 24"),
        (0, 1, "a path has two points at least, found 1"),
    ],
)
def test_twins_that_cannot_be_are_refused(step, points, sentence, steps):
    with pytest.raises(PrunusError, match=sentence):
        twins(TASK, SETTINGS, step, 0, points=points)
    assert steps() == 0
