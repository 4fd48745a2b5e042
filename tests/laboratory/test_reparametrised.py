"""Training with a method: plain weights and a mask come out, whatever the method, and a stop leaves no trace."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prunus.errors import PrunusError
from prunus.laboratory import Drawn, Ended, Reparametrised, Trained
from prunus.laboratory import reparametrised as module
from prunus.laboratory.reparametrised import METHODS, named
from prunus.mask import Mask
from prunus.reparametrised import HardConcrete, Surgery
from prunus.settings import Settings
from prunus.snapshot import Snapshot
from prunus.store import Outcome
from prunus.training import train

from .benches import NOISY, Given, make, network, same, score

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = Settings(steps=60, batch=50, learning_rate=5e-3)
START = Given(make(Drawn(NOISY, 1)).result)
DATA = NOISY.read()


def trained(folder: Path, name: str = "surgery", **how: Any) -> Outcome:
    settings = how.pop("settings", SETTINGS)
    method = how.pop("method", None) or named(name, density=0.2, settings=settings, rows=len(DATA.train))
    return make(Reparametrised(NOISY, how.pop("start", START), settings, 3, method, **how), folder)


@pytest.mark.parametrize("name", METHODS)
def test_plain_weights_and_a_mask(name: str, tmp_path: Path) -> None:
    quantised = name in ("binary", "4-bit")
    outcome = trained(tmp_path, name, density=1.0 if quantised else 0.2)
    found = outcome.result
    assert isinstance(found, Snapshot)
    assert found.weights.keys() == START.what.weights.keys()
    ended = make(Ended(Given(found)))
    assert isinstance(ended.result, Mask)
    for key, kept in ended.result.items():
        assert not found.weights[key][~kept].any()
    assert ended.metrics["density"] == outcome.metrics["density"] <= (1.0 if quantised else 237 / 1184)
    if name in ("dpf", "movement-pruning"):
        assert ended.result.kept == 237  # 0.2 of 1184, rounded
    if quantised:
        assert all(len(found.weights[key].unique()) <= (2 if name == "binary" else 16) for key in ended.result)
    model = network(NOISY, found)
    assert outcome.metrics["error"] == pytest.approx(score(model, DATA.test())[0], abs=1e-3)
    assert outcome.metrics["error_validation"] == pytest.approx(score(model, DATA.validation)[0], abs=1e-3)
    if name in ("dpf", "movement-pruning", "4-bit"):
        assert outcome.metrics["error"] < 40  # chance is 90


def test_soft_thresholds_do_not_rise_past_all_weights_at_the_rates_of_sgd(tmp_path: Path) -> None:
    sgd = Settings(steps=60, batch=50, optimizer="sgd", learning_rate=0.1)
    found = trained(tmp_path, "soft-threshold", settings=sgd, density=0.2).metrics
    assert 0.05 < found["density"] <= 237 / 1184
    assert found["error"] < 40


@pytest.mark.parametrize("method", [Surgery(0.5, until=50), HardConcrete(1e-3, warm_up=30)], ids=["surgery", "l0"])
def test_a_stopped_run_ends_with_the_same_bits(method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    undisturbed = trained(tmp_path / "elsewhere", method=method)
    monkeypatch.setattr(module, "train", stopping(31))
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, method=method)
    monkeypatch.undo()
    assert (tmp_path / "unfinished").exists()
    resumed = trained(tmp_path, method=method)
    assert same(resumed.result.weights, undisturbed.result.weights)  # type: ignore[union-attr]
    assert same(resumed.result.extra, undisturbed.result.extra)  # type: ignore[union-attr]
    assert resumed.metrics == undisturbed.metrics


def stopping(stop: int) -> Callable[..., Any]:
    def until(*arguments: Any, on_step: Callable[[int], None], **settings: Any) -> Any:
        def on_step_until(step: int) -> None:
            if step > stop:
                raise KeyboardInterrupt
            on_step(step)

        return train(*arguments, on_step=on_step_until, every=0, **settings)

    return until


def test_training_goes_on_with_the_mask(tmp_path: Path) -> None:
    """The equal budget: a method over the first steps, its mask held over the rest."""
    part = trained(tmp_path, "dpf", until=45, density=0.2)
    assert isinstance(part.result, Snapshot)
    assert part.result.step == 45
    assert "error" not in part.metrics
    mask = make(Ended(Given(part.result))).result
    (tmp_path / "rest").mkdir()
    rest = make(Trained(NOISY, Given(part.result), SETTINGS, 3, mask=Given(mask)), tmp_path / "rest")
    assert rest.metrics["steps"] == 15
    assert isinstance(rest.result, Snapshot)
    assert isinstance(mask, Mask)
    assert all(not rest.result.weights[key][~kept].any() for key, kept in mask.items())
    assert not torch.equal(rest.result.weights["fc1.weight"], part.result.weights["fc1.weight"])


def test_a_training_without_a_mask_ends_with_none() -> None:
    with pytest.raises(PrunusError, match="no mask of its own"):
        make(Ended(START))


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(PrunusError, match="unknown method 'l1', did you mean 'l0'"):
        named("l1", density=0.5, settings=SETTINGS, rows=100)
    with pytest.raises(PrunusError, match="4 steps at least, found 3"):
        named("l0", density=0.5, settings=Settings(steps=3), rows=100)
