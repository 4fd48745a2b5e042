"""The pieces and the study of supermasks against the same by hand."""

from dataclasses import replace
from statistics import fmean, stdev

import pytest
import torch

from prunus.errors import PrunusError
from prunus.evaluation import evaluate
from prunus.laboratory import Chances, Elsewhere, Gems, Task
from prunus.laboratory.supermasked import learn
from prunus.mask import Mask
from prunus.recipe import supermask
from prunus.recipe.supermask import CONSTANT, UNIFORM, Plan, study
from prunus.settings import Settings
from prunus.store import Store, identity
from prunus.supermask import Bernoulli, Start, Supermask
from prunus.ticket.noise import generator_for

TASK = Task.of("lenet-300-100", "digits")
SGD = Settings(epochs=4, batch=50, optimizer="sgd", learning_rate=1.0, decay="cosine")
PLAN = Plan(
    TASK,
    dense=Settings(epochs=6, batch=50, learning_rate=2e-3),
    chances=replace(SGD, learning_rate=50.0),
    edges=SGD,
    gems=SGD,
    heuristics=(0.5, 0.1),
    edge_densities=(0.3,),
    gem_densities=(0.1,),
    seeds=(0, 1),
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = Store(tmp_path_factory.mktemp("store"))
    found = study(PLAN, store)
    torch.set_num_threads(threads)
    return store, found


def rows(table):
    return {row.name: row for row in table}


def by_hand(start: Start, mask: Mask, rescale: float = 0.0) -> float:
    """Percent right on test of a network put together from a seed and a mask."""
    model = TASK.network()
    Supermask(start, mask, rescale).apply_to(model)
    return 100 - evaluate(model, TASK.read().test()).error


def test_every_row_is_there(made):
    _, found = made
    samples = [f"{name}; mean of samples" for name in supermask.learned(PLAN, SGD, 0)]
    assert set(rows(found.masks)) == {
        "large final, same sign",
        "large final, same sign, signed constant",
        *supermask.learned(PLAN, SGD, 0),
        *samples,
        "edge-popup 30 %",
        "gem-miner 10 %",
    }
    names = ("trained", "shuffled", "re-initialised", "inverted")
    assert list(rows(found.trained)) == ["dense", *(f"gem-miner 10 %, {name}" for name in names)]
    accuracy = rows(found.trained)["gem-miner 10 %, trained"].figures["accuracy"]
    assert fmean(accuracy) > 80
    assert stdev(accuracy) > 0


def test_edges_and_gems_are_networks_of_their_seed(made):
    store, found = made
    edges, bytes_ = [], []
    for seed in PLAN.seeds:
        piece = supermask.edge_popup(PLAN, SGD, seed, 0.3)
        edges.append(by_hand(Start(CONSTANT, seed, 0.3), store.result(piece)))
        bytes_.append(store.metrics(piece)["file_bytes"])
    row = rows(found.masks)["edge-popup 30 %"].figures
    assert row["accuracy"] == pytest.approx(edges)
    assert row["kept, percent"] == (30.0, 30.0)
    assert row["bytes"] == tuple(bytes_)
    assert row["times smaller"] == tuple(4 * 50_610 / size for size in bytes_)
    assert max(bytes_) < 0.9 * 50_200 / 8 + 600  # a mask of density 0.3 has an entropy of 0.88 bits a weight
    gem = supermask.gem(PLAN, SGD, 0, 0.1)
    survivors, metrics = store.result(gem), store.metrics(gem)
    assert survivors.kept == 5020
    assert metrics["density"] <= survivors.density


def test_the_heuristic_is_chosen_on_validation_and_takes_no_training(made):
    store, found = made
    for kind, name in ((UNIFORM, "large final, same sign"), (CONSTANT, "large final, same sign, signed constant")):
        validation, accuracy = {}, {}
        for density in PLAN.heuristics:
            pieces = [supermask.heuristic(PLAN, seed, kind, density) for seed in PLAN.seeds]
            validation[density] = sum(store.metrics(piece)["error_validation"] for piece in pieces)
            accuracy[density] = [
                by_hand(Start(kind, seed), store.result(piece)) for seed, piece in zip(PLAN.seeds, pieces, strict=True)
            ]
        best = min(validation, key=validation.__getitem__)
        row = rows(found.masks)[name].figures
        assert row["kept, percent"] == (100 * best, 100 * best)
        assert row["accuracy"] == pytest.approx(accuracy[best])


def test_what_the_heuristic_keeps_kept_its_sign(made):
    store, _ = made
    mask = store.result(supermask.heuristic(PLAN, 0, UNIFORM, 0.1))
    trained = store.result(supermask.trained(PLAN, 0)).weights
    start = Start(UNIFORM, 0).drawn({name: tuple(kept.shape) for name, kept in mask.items()})
    for name, kept in mask.items():
        assert (trained[name].sign() == start[name].values(tuple(kept.shape)).sign())[kept].all()
        assert int(kept.sum()) == round(0.1 * kept.numel())


def test_samples_are_averaged(made, tmp_path):
    store, found = made
    piece = supermask.learned(PLAN, PLAN.chances, 1)["learned, signed constant, rescaled"]
    learning = Chances(rescale=1.0).begin(TASK.network(), Start(CONSTANT, 1), 4, 27)
    assert isinstance(learning, Bernoulli)
    learn(learning, TASK.read(), PLAN.chances, seed=1)
    generator = generator_for(1, "sampled")
    samples = [learning.sampled(generator) for _ in range(10)]
    expected = fmean(by_hand(one.start, one.mask, one.rescale) for one in samples)
    assert 100 - store.metrics(piece)["error_of_samples"] == pytest.approx(expected)
    row = rows(found.masks)["learned, signed constant, rescaled; mean of samples"].figures
    assert row["accuracy"][1] == pytest.approx(expected)
    assert by_hand(Start(CONSTANT, 1), learning.found().mask, 1.0) == pytest.approx(100 - store.metrics(piece)["error"])


def test_elsewhere_is_disjoint_and_as_large(made):
    store, _ = made
    gem = supermask.gem(PLAN, SGD, 0, 0.1)
    others = store.result(Elsewhere(gem, 0))
    mask = store.result(gem)
    assert (mask & others).kept == 0
    assert {name: int(kept.sum()) for name, kept in mask.items()} == {n: int(k.sum()) for n, k in others.items()}


def test_controls_differ_in_one_thing(made):
    runs = supermask.polished(PLAN, SGD, 0, 0.1)
    trained = runs.pop("trained")
    assert identity(runs["shuffled"].start) == identity(trained.start)
    assert identity(runs["re-initialised"].mask) == identity(trained.mask)
    assert identity(runs["inverted"].start) == identity(trained.start)
    assert runs["re-initialised"].start.start == Start(CONSTANT, 1_000_000, 0.1)
    assert all(run.settings == trained.settings and run.seed == trained.seed for run in runs.values())


def test_one_seed_has_no_spread():
    with pytest.raises(PrunusError, match="a spread takes two seeds"):
        replace(PLAN, seeds=(0,))


def test_gem_miner_freezes_before_the_last_epoch():
    for epochs, every, expected in ((10, 1, 9), (11, 5, 2), (3, 5, 1), (1, 1, 1)):
        gems = Gems(0.1, every).begin(TASK.network(), Start(), epochs, per_epoch=7)
        counts = [gems.survivors().kept]
        for step in range(1, 7 * epochs + 1):
            gems.after_step(step)
            counts.append(gems.survivors().kept)
        assert len(set(counts)) == expected + 1  # and at first all of them
        assert counts[-1] == 5020
        assert epochs == 1 or counts[-8] == 5020  # an epoch of learning after the last
