"""Training in the laboratory: parts are the whole, masks hold, and what is measured is what there was."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from prunus.errors import PrunusError
from prunus.laboratory import Drawn, Trained
from prunus.laboratory.trained import moments
from prunus.mask import Mask
from prunus.settings import Settings
from prunus.snapshot import Snapshot
from prunus.store import Outcome

from .benches import NOISY, PLAIN, Given, make, network, same, score

SGD = Settings(steps=120, batch=50, optimizer="sgd", learning_rate=0.05, weight_decay=1e-3, decay="cosine", warm_up=9)
ADAM = Settings(steps=120, batch=50, optimizer="adam", learning_rate=3e-3, decay="steps", augment=True)
KERNELS = replace(ADAM, sparse_below=0.9)
DRAWN = make(Drawn(NOISY, 1)).result
START = Given(DRAWN)


def chosen(seed: int) -> Mask:
    """A mask that keeps half of everything."""
    generator = torch.Generator().manual_seed(seed)
    weights = {"fc1.weight": (16, 64), "fc2.weight": (10, 16)}
    return Mask({name: torch.rand(shape, generator=generator) < 0.5 for name, shape in weights.items()})


MASK = chosen(0)


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Outcome]:
    """Train from `start` in a folder of its own, so that nothing is taken up."""
    numbers = iter(range(100))

    def train(start: Given = START, settings: Settings = ADAM, **how: Any) -> Outcome:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return make(Trained(how.pop("task", NOISY), start, settings, how.pop("seed", 3), **how), folder)

    return train


def weights(outcome: Outcome) -> Snapshot:
    assert isinstance(outcome.result, Snapshot)
    return outcome.result


def state(outcome: Outcome) -> dict[str, torch.Tensor]:
    found = weights(outcome)
    return {**found.weights, **found.buffers}


@pytest.mark.parametrize("settings", [SGD, ADAM, KERNELS], ids=["sgd", "adam", "kernels"])
@pytest.mark.parametrize("mask", [None, Given(MASK)], ids=["dense", "masked"])
@pytest.mark.parametrize("k", [1, 77])
def test_to_k_and_on_is_training_at_once(
    trained: Callable[..., Outcome], settings: Settings, mask: Given | None, k: int
) -> None:
    whole = trained(settings=settings, mask=mask)
    part = trained(settings=settings, mask=mask, until=k)
    rest = trained(Given(part.result), settings, mask=mask)
    assert same(state(rest), state(whole))
    assert rest.metrics["error"] == whole.metrics["error"]
    assert rest.metrics["curve"][-1] == whole.metrics["curve"][-1]
    assert (part.metrics["steps"], rest.metrics["steps"], whole.metrics["steps"]) == (k, 120 - k, 120)
    assert (weights(part).step, weights(rest).step) == (k, 120)
    assert weights(part).optimizer is not None
    assert weights(rest).optimizer is None
    assert "error" not in part.metrics


def test_a_start_without_optimizer_begins_with_an_empty_one(trained: Callable[..., Outcome]) -> None:
    """As after a change of weights: the schedule goes on, the moments do not."""
    part = weights(trained(settings=SGD, until=40))
    with_memory, without = (trained(Given(start), SGD) for start in (part, replace(part, optimizer=None)))
    assert not same(state(with_memory), state(without))
    assert with_memory.metrics["steps"] == without.metrics["steps"] == 80


@pytest.mark.parametrize("settings", [SGD, ADAM, KERNELS], ids=["sgd", "adam", "kernels"])
def test_what_a_mask_prunes_is_zero_to_the_bit(trained: Callable[..., Outcome], settings: Settings) -> None:
    found = trained(settings=settings, mask=Given(MASK))
    for name, kept in MASK.items():
        values = weights(found).weights[name]
        assert values[~kept].view(torch.int32).eq(0).all()  # +0.0, not -0.0
        assert values[kept].ne(0).all()
        assert values[kept].ne(DRAWN.weights[name][kept]).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("steps", [1, 30])
def test_kernels_train_what_masks_do_up_to_the_order_of_additions(trained: Callable[..., Outcome], steps: int) -> None:
    settings = replace(SGD, steps=steps, warm_up=0)
    dense = state(trained(settings=settings, mask=Given(MASK)))
    sparse = state(trained(settings=replace(settings, sparse_below=0.9), mask=Given(MASK)))
    assert dense.keys() == sparse.keys()
    assert not same(dense, sparse)
    for name, wanted in dense.items():
        assert torch.allclose(sparse[name].float(), wanted.float(), rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("settings", [SGD, ADAM], ids=["sgd", "adam"])
def test_what_is_frozen_stays_at_its_start_to_the_bit(trained: Callable[..., Outcome], settings: Settings) -> None:
    found = trained(settings=settings, mask=Given(MASK), frozen=True)
    for name, kept in MASK.items():
        values, start = weights(found).weights[name], DRAWN.weights[name]  # type: ignore[union-attr]
        assert same(values[~kept], start[~kept])
        assert values[kept].ne(start[kept]).all()
    assert not same(state(found), state(trained(settings=settings, mask=Given(MASK))))
    halves = trained(Given(trained(settings=settings, mask=Given(MASK), frozen=True, until=50).result), settings)
    assert not same(state(found), state(halves))


def test_it_does_not_depend_on_torchs_random_state_nor_change_it(trained: Callable[..., Outcome]) -> None:
    torch.manual_seed(1)
    first = trained(until=30)
    torch.manual_seed(2)
    torch.rand(5)
    before = torch.get_rng_state()
    second = trained(until=30)
    assert torch.get_rng_state().equal(before)
    assert same(first.result, second.result)  # with the random state that goes on from there
    assert first.metrics == second.metrics


def test_the_seed_and_the_data_count(trained: Callable[..., Outcome]) -> None:
    found = trained(until=30)
    assert not same(state(found), state(trained(until=30, seed=4)))
    corrupted = replace(NOISY, corrupt="labels")
    assert not same(state(found), state(trained(until=30, task=corrupted)))


def test_all_that_is_measured_is_plain(trained: Callable[..., Outcome]) -> None:
    for found in (trained(), trained(until=60, mask=Given(MASK))):
        assert json.loads(json.dumps(found.metrics)) == found.metrics


def test_the_curve_is_what_a_run_that_stopped_there_scores(trained: Callable[..., Outcome]) -> None:
    found = trained(mask=Given(MASK))
    assert [point[0] for point in found.metrics["curve"]] == [0, 50, 100, 120]
    for step, error, loss in found.metrics["curve"]:
        stopped = weights(trained(mask=Given(MASK), until=step))
        expected = score(network(NOISY, stopped), NOISY.read().validation)
        assert (error, loss) == (pytest.approx(expected[0], abs=1e-9), pytest.approx(expected[1], rel=1e-6))
    assert found.metrics["error_validation"] == found.metrics["curve"][-1][1]
    end = network(NOISY, weights(found))
    assert found.metrics["error"] == pytest.approx(score(end, NOISY.read().test())[0], abs=1e-9)


def test_the_curve_is_in_the_precision_of_training_and_the_test_in_full(trained: Callable[..., Outcome]) -> None:
    found = trained(settings=replace(ADAM, precision="bf16-mixed"))
    start, end = network(NOISY, DRAWN), network(NOISY, weights(found))
    with torch.autocast("cpu", torch.bfloat16):
        reduced = score(start, NOISY.read().validation)[1]
    full = score(start, NOISY.read().validation)[1]
    assert abs(found.metrics["curve"][0][2] - reduced) < abs(reduced - full) / 10
    assert found.metrics["error"] == pytest.approx(score(end, NOISY.read().test())[0], abs=1e-9)


def test_early_stopping_is_where_the_validation_loss_was_least(trained: Callable[..., Outcome]) -> None:
    """On labels dealt out at random, learning soon makes the validation part worse."""
    task, settings = replace(NOISY, corrupt="labels"), replace(ADAM, steps=400, learning_rate=0.01, decay="constant")
    found = trained(task=task, settings=settings)
    step, error, loss = sorted(found.metrics["curve"], key=lambda point: point[2])[0]
    assert 0 < step < 400
    stopped = weights(trained(task=task, settings=settings, until=step))
    assert found.metrics["early_stop"] == {
        "step": step,
        "error_validation": error,
        "loss_validation": loss,
        "error": pytest.approx(score(network(task, stopped), task.read().test())[0], abs=1e-9),
    }
    assert found.metrics["early_stop"]["error"] != found.metrics["error"]
    assert same(state(found), state(trained(Given(stopped), settings, task=task)))  # the end is not the best


def test_of_equal_losses_the_first_counts(trained: Callable[..., Outcome]) -> None:
    start = Given(make(Drawn(PLAIN, 1)).result)
    found = trained(start, replace(ADAM, learning_rate=0.0), task=PLAIN)
    assert len({point[2] for point in found.metrics["curve"]}) == 1
    assert found.metrics["early_stop"]["step"] == 0
    assert found.metrics["early_stop"]["error"] == found.metrics["error"]


class Interrupted(Exception):  # noqa: N818
    pass


HOW = {
    "dense": {},
    "masked": {"mask": Given(MASK)},
    "kernels": {"mask": Given(MASK), "settings": KERNELS},
    "frozen": {"mask": Given(MASK), "frozen": True},
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_taken_up_it_ends_with_the_same_bits(
    tmp_path: Path, trained: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    """Interrupted after step 60, by when the curve has points; it tells of every twentieth step."""
    undisturbed = trained(**how)
    told: list[int] = []

    def interrupt(title: str, step: int, total: int, note: str) -> None:
        told.append(step)
        if told == [20, 40, 60]:
            raise Interrupted

    piece = Trained(NOISY, START, how.get("settings", ADAM), 3, **{k: v for k, v in how.items() if k != "settings"})
    with monkeypatch.context() as patch:
        patch.setattr("prunus.training.time.monotonic", iter(range(0, 10**6, 60)).__next__)  # a minute a step
        with pytest.raises(Interrupted):
            make(piece, tmp_path, interrupt)
    assert Snapshot.load(tmp_path / "unfinished").step == 60
    torch.rand(3)
    found = make(piece, tmp_path, interrupt)
    assert told == [20, 40, 60, 80, 100, 120]
    assert same(found.result, undisturbed.result)
    assert found.metrics == undisturbed.metrics


@pytest.mark.parametrize("until", [None, 120])
def test_training_from_the_end_is_no_training(trained: Callable[..., Outcome], until: int | None) -> None:
    end = trained(until=120)
    found = trained(Given(end.result), until=until)
    assert same(state(found), state(end))
    assert found.metrics["steps"] == 0
    assert found.metrics["curve"] == end.metrics["curve"][-1:]
    assert found.metrics["error"] == end.metrics["error"] == found.metrics["early_stop"]["error"]


def test_no_training_at_all(trained: Callable[..., Outcome]) -> None:
    found = trained(until=0)
    assert same(state(found), {**DRAWN.weights, **DRAWN.buffers})  # type: ignore[union-attr]
    assert [point[0] for point in found.metrics["curve"]] == [0]
    assert found.metrics["steps"] == 0


@pytest.mark.parametrize("until", [121, 20])
def test_steps_that_there_are_not(trained: Callable[..., Outcome], until: int) -> None:
    start = Given(trained(until=30).result)
    with pytest.raises(PrunusError, match=f"steps 30 to {until} are no part of the 120"):
        trained(start, until=until)


def test_a_mask_that_does_not_fit(trained: Callable[..., Outcome]) -> None:
    with pytest.raises(PrunusError, match=r"fc1\.weight"):
        trained(mask=Given(Mask({"fc1.weight": torch.ones(3, 3, dtype=torch.bool)})))


@pytest.mark.parametrize(("begin", "last"), [(0, 0), (7, 7), (0, 1), (0, 50), (0, 51), (3, 1000), (0, 50_000)])
def test_moments_are_close_at_first_and_dense_in_the_logarithm(begin: int, last: int) -> None:
    found = moments(begin, last)
    gaps = [second - first for first, second in pairwise(found)]
    assert found[0] == begin
    assert found[-1] == last
    assert all(gap > 0 for gap in gaps)
    assert all(gap == 50 for first, gap in zip(found, gaps[:-1], strict=False) if first <= 2000)
    assert all(0.0244 < gap / first <= 0.025 for first, gap in zip(found, gaps[:-1], strict=False) if first >= 2040)


def test_some_forty_moments_a_factor_of_e() -> None:
    inside = [moment for moment in moments(0, 200_000) if 20_000 <= moment < 20_000 * math.e]
    assert 38 <= len(inside) <= 42
