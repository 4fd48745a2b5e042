"""Training moves scores and nothing else, goes on to the bit after a stop, and ends as a seed and a mask in a file."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from prunus import models, pack, scope
from prunus.errors import PrunusError
from prunus.evaluation import evaluate
from prunus.laboratory.supermasked import finish, learn
from prunus.loading import load, save
from prunus.supermask import Bernoulli, EdgePopup, GemMiner, Learning, Start, Supermask, bake
from prunus.tree import weights

from .networks import DIGITS, NAMES, SETTINGS, Normed, methods

Begin = Callable[[], Learning]
CHANGES = ({"density": 0.2}, {"every": 9}, {"freezings": 5}, {"strength": 1e-3}, {"rescale": 0.5})


def gems(density: float = 0.1, **options: Any) -> Learning:
    return GemMiner(Normed(), Start(), density, **({"every": 8, "freezings": 4} | options))


pytestmark = pytest.mark.usefixtures("one_thread")


def state(learning: Learning) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in learning.network.state_dict().items()}


@pytest.mark.parametrize("kind", ["signed-constant", "uniform"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_frozen_keeps_its_bits(name: str, kind: str) -> None:
    model = Normed()
    untouched = {name: value.clone() for name, value in model.state_dict().items()}
    learning = methods(model, Start(kind, 4))[name]
    before = state(learning)
    assert sum(parameter.requires_grad for parameter in learning.network.parameters()) == len(learning.scores) == 2
    learn(learning, DIGITS, SETTINGS, seed=0)
    moved = {name for name, value in state(learning).items() if not torch.equal(value, before[name])}
    learnt = "logits" if name == "bernoulli" else "scores"
    assert {f"{layer}.parametrizations.weight.0.{learnt}" for layer in ("conv", "fc")} <= moved
    statistics = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert all(".weight.0." in name for name in moved - statistics)
    drawn = Start(kind, 4).drawn({name: tuple(weight.shape) for name, weight in weights(model).items()})
    for layer in ("conv", "fc"):
        original = learning.network.get_parameter(f"{layer}.parametrizations.weight.original")
        assert torch.equal(original, drawn[f"{layer}.weight"].values(tuple(original.shape)))
    assert all(torch.equal(value, untouched[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_ends_with_the_same_bits(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = methods(Normed(), Start())[name]
    history = learn(undisturbed, DIGITS, SETTINGS, seed=3)
    monkeypatch.setattr("prunus.laboratory.supermasked.train", _stopping(21))
    with pytest.raises(KeyboardInterrupt):
        learn(methods(Normed(), Start())[name], DIGITS, SETTINGS, seed=3, checkpoint=tmp_path / "run")
    monkeypatch.undo()
    resumed = methods(Normed(), Start())[name]
    assert learn(resumed, DIGITS, SETTINGS, seed=3, checkpoint=tmp_path / "run") == history
    assert all(torch.equal(value, state(undisturbed)[key]) for key, value in state(resumed).items())


def _stopping(stop: int):
    from prunus.training import train

    def stopping(*arguments, on_step, **settings):
        def on_step_until(step: int) -> None:
            if step > stop:
                raise KeyboardInterrupt
            on_step(step)

        return train(*arguments, on_step=on_step_until, every=0, **settings)

    return stopping


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: EdgePopup(Normed(), Start(), 0.3), lambda: EdgePopup(Normed(), Start(), 0.31)),
        (lambda: EdgePopup(Normed(), Start(), 0.3), lambda: EdgePopup(Normed(), Start(), 0.3, scope=scope.network)),
        (lambda: EdgePopup(Normed(), Start(), 0.3), lambda: EdgePopup(Normed(), Start(seed=1), 0.3)),
        (lambda: Bernoulli(Normed(), Start()), lambda: Bernoulli(Normed(), Start(), rescale=0.5)),
        (lambda: Bernoulli(Normed(), Start()), lambda: Bernoulli(Normed(), Start(), chance=0.4)),
        *((lambda: gems(), partial(gems, **change)) for change in CHANGES),
    ],
)
def test_a_checkpoint_of_other_decisions_is_refused(first: Begin, second: Begin, tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=2)
    learn(first(), DIGITS, settings, seed=0, checkpoint=tmp_path / "run")
    learn(first(), DIGITS, settings, seed=0, checkpoint=tmp_path / "run")
    with pytest.raises(PrunusError, match="is of another run: its start is"):
        learn(second(), DIGITS, settings, seed=0, checkpoint=tmp_path / "run")


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_network_computes_what_the_masked_one_did(name: str) -> None:
    model = Normed()
    keys = list(model.state_dict())
    learning = methods(model, Start(seed=1))[name]
    learn(learning, DIGITS, SETTINGS, seed=0)
    bake(learning, learning.found(), model)
    inputs, _ = next(DIGITS.train.batches(64, most=1))
    learning.network.eval()
    assert torch.allclose(model.eval()(inputs), learning.network(inputs), rtol=1e-5, atol=1e-5)
    assert list(model.state_dict()) == keys
    assert type(model.fc) is nn.Linear


def test_it_learns(tmp_path: Path) -> None:
    """Chance is 90 % wrong; a network of its seed and a random mask of the same size is not much better."""
    model = models.build("lenet-300-100", DIGITS)
    learning = EdgePopup(model, Start(seed=1), 0.3)
    learn(learning, DIGITS, SETTINGS, seed=0)
    found = learning.found()
    finish(learning, found, model, DIGITS)
    assert evaluate(model, DIGITS.validation).error < 20
    Supermask(found.start, found.mask.shuffled(torch.Generator().manual_seed(0))).apply_to(model)
    assert evaluate(model, DIGITS.validation).error > 60


def test_a_file_holds_the_seed_and_the_mask(tmp_path: Path) -> None:
    model = models.build("lenet-300-100", DIGITS)
    learning = Bernoulli(model, Start("uniform", 7))
    learn(learning, DIGITS, SETTINGS, seed=0)
    found = learning.found()
    finish(learning, found, model, DIGITS)
    contents = save(model, tmp_path / "a.prunus", drawn=found.drawn())
    assert contents.file_bytes < sum(kept.numel() for kept in found.mask.values()) / 8 + 700
    again = load(tmp_path / "a.prunus")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    assert pack.drawn(tmp_path / "a.prunus") == found.drawn()
    for name, one in pack.drawn(tmp_path / "a.prunus").items():  # from the file's seeds alone
        rebuilt = torch.where(found.mask[name], one.values(tuple(found.mask[name].shape)), 0)
        assert torch.equal(rebuilt, again.get_parameter(name))
