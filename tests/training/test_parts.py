"""A run in parts, with the optimizer handed on, is the run as a whole."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.mask import Mask
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot
from prunus.training import History, train

from .runs import DIGITS, SETTINGS, StoppedError, noisy, same

SGD = dataclasses.replace(SETTINGS, optimizer="sgd", learning_rate=0.05, weight_decay=1e-3, warm_up=20)
ADAM = dataclasses.replace(SETTINGS, optimizer="adam", decay="steps", drops=(0.3, 0.7), weight_decay=1e-3)
TOTAL = 50  # an epoch is 13 steps


def equal(first: Any, second: Any) -> bool:
    """Whether two states hold the same values, tensors by their bits."""
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(value, second[key]) for key, value in first.items())
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(itertools.starmap(equal, zip(first, second, strict=True)))
    return bool(first == second)


def in_parts(settings: Settings, *ends: int) -> tuple[nn.Module, torch.optim.Optimizer, list[float]]:
    """Train up to each of `ends` and go on, with the loss of every step."""
    model, losses = noisy(), []
    optimizer = make_optimizer(model, settings)

    def loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        value = F.cross_entropy(model(inputs), labels)
        losses.append(value.item())
        return value

    for begin, end in itertools.pairwise((0, *ends)):
        train(model, DIGITS, settings, seed=1, optimizer=optimizer, loss=loss, begin=begin, end=end)
    return model, optimizer, losses


@pytest.mark.parametrize("settings", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("ends", [(1,), (13,), (19,), (36,), (49,), (5, 21, 22, 40), (0,), (50,)], ids=str)
def test_parts_are_the_whole(settings: Settings, ends: tuple[int, ...]) -> None:
    model, optimizer, losses = in_parts(settings, TOTAL)
    other, handed_on, found = in_parts(settings, *ends, TOTAL)
    assert same(model, other)
    assert equal(optimizer.state_dict(), handed_on.state_dict())
    assert len(losses) == TOTAL
    assert found == losses


def test_a_part_that_begins_elsewhere_is_another() -> None:
    """Or the test above would pass for a loop that always takes the same batches at the same rate."""
    finals = []
    for begin in (0, 13, 26):
        model = noisy()
        train(model, DIGITS, SGD, seed=1, begin=begin, end=begin + 10)
        finals.append(model)
    assert not any(same(first, second) for first, second in itertools.combinations(finals, 2))


def test_the_optimizer_is_what_is_handed_on() -> None:
    model, whole = noisy(), in_parts(SGD, TOTAL)[0]
    for begin, end in ((0, 25), (25, 50)):
        train(model, DIGITS, SGD, seed=1, begin=begin, end=end)  # with a new optimizer each
    assert not same(model, whole)


def test_rates_and_steps_are_those_of_the_whole() -> None:
    model, rates, told = noisy(), {}, []
    optimizer = make_optimizer(model, SGD)
    for begin, end in ((0, 17), (17, 41), (41, TOTAL)):
        history = train(
            model,
            DIGITS,
            SGD,
            seed=1,
            optimizer=optimizer,
            begin=begin,
            end=end,
            on_step=lambda step: rates.update({step: optimizer.param_groups[0]["lr"]}),
            progress=lambda _title, done, total, _note: told.append((done, total)),
        )
        assert history.steps == end - begin
        assert optimizer.param_groups[0]["lr"] == 0.05, "the full rate is put back"
    assert list(rates) == list(range(1, TOTAL + 1))
    assert rates[1] == pytest.approx(0.05 / 20)
    assert rates[20] == rates[21] == pytest.approx(0.05)
    assert rates[35] == pytest.approx(0.025, rel=0.11)  # half way down, at step 34 of 20 to 50
    assert rates[36] == pytest.approx(0.025)
    assert told[-1] == (TOTAL, TOTAL)
    assert (17, 17) in told


def test_a_held_mask_and_a_snapshot_between_the_parts() -> None:
    """What the laboratory does: the parts are in different networks, with a snapshot between them."""
    mask = Mask({"fc1.weight": torch.rand(32, 64, generator=torch.Generator().manual_seed(0)) < 0.3})

    def part(model: nn.Module, optimizer: torch.optim.Optimizer, begin: int, end: int) -> None:
        with hold(optimizer, model, mask):
            train(model, DIGITS, ADAM, seed=1, optimizer=optimizer, begin=begin, end=end)

    whole = noisy()
    part(whole, make_optimizer(whole, ADAM), 0, TOTAL)
    first = noisy()
    optimizer = make_optimizer(first, ADAM)
    part(first, optimizer, 0, 22)
    between = Snapshot.take(first, optimizer, step=22)
    second = noisy()
    optimizer = make_optimizer(second, ADAM)
    between.restore(second, optimizer)
    part(second, optimizer, 22, TOTAL)
    assert same(second, whole)


def second_part(
    checkpoint: Path | None, *, stop: int | None = None, end: int | None = None
) -> tuple[nn.Module, History | None]:
    """Steps 20 to 50, or those until an exception after step `stop` and its checkpoint."""
    model = noisy()
    optimizer = make_optimizer(model, ADAM)
    train(model, DIGITS, ADAM, seed=1, optimizer=optimizer, end=20)

    def on_step(step: int) -> None:
        if stop is not None and step > stop:
            raise StoppedError

    try:
        history = train(
            model,
            DIGITS,
            ADAM,
            seed=1,
            optimizer=optimizer,
            begin=20,
            end=end,
            on_step=on_step,
            checkpoint=checkpoint,
            every=0,
        )
    except StoppedError:
        return model, None
    return model, history


@pytest.mark.parametrize("stop", [21, 26, 38, 49])
def test_a_part_that_was_stopped_goes_on_from_its_checkpoint(tmp_path: Path, stop: int) -> None:
    second_part(tmp_path / "run", stop=stop)
    assert Snapshot.load(tmp_path / "run").step == stop
    (resumed, history), (undisturbed, expected) = second_part(tmp_path / "run"), second_part(None)
    assert same(resumed, undisturbed)
    assert history == expected
    assert history.steps == 30


def test_a_finished_part_can_be_made_longer(tmp_path: Path) -> None:
    second_part(tmp_path / "run", end=33)
    assert Snapshot.load(tmp_path / "run").step == 33
    (longer, history), (undisturbed, expected) = second_part(tmp_path / "run"), second_part(None)
    assert same(longer, undisturbed)
    assert history == expected


def test_a_part_that_ends_before_its_checkpoint_is_refused(tmp_path: Path) -> None:
    second_part(tmp_path / "run")
    model = noisy()
    optimizer = make_optimizer(model, ADAM)
    train(model, DIGITS, ADAM, seed=1, optimizer=optimizer, end=20)
    before = [value.clone() for value in model.state_dict().values()]
    with pytest.raises(PrunusError, match="is of step 50, beyond the last one here, 40"):
        train(model, DIGITS, ADAM, seed=1, optimizer=optimizer, begin=20, end=40, checkpoint=tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


def test_the_checkpoint_of_another_part_is_refused(tmp_path: Path) -> None:
    second_part(tmp_path / "run", stop=30)
    with pytest.raises(PrunusError, match="its begin is 20, not 0"):
        train(noisy(), DIGITS, ADAM, seed=1, checkpoint=tmp_path / "run")


@pytest.mark.parametrize(
    ("begin", "end", "sentence"),
    [
        (-1, None, "steps -1 to 50 are no part of the 50"),
        (0, 51, "steps 0 to 51 are no part of the 50"),
        (51, None, "steps 51 to 50"),
        (30, 20, "steps 30 to 20"),
        (0, -1, "steps 0 to -1"),
    ],
)
def test_parts_of_something_else_are_refused(begin: int, end: int | None, sentence: str, tmp_path: Path) -> None:
    model = noisy()
    with pytest.raises(PrunusError, match=sentence):
        train(model, DIGITS, SETTINGS, seed=1, begin=begin, end=end, checkpoint=tmp_path / "run")
    assert same(model, noisy())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", [0, 20, 50])
def test_an_empty_part_changes_nothing(step: int) -> None:
    model = noisy()
    history = train(model, DIGITS, SETTINGS, seed=1, begin=step, end=step)
    assert (history.steps, history.losses) == (0, ())
    assert same(model, noisy())
