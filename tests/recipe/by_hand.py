"""A small task, and its training by the loop, a hold and a snapshot alone: no laboratory, no store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from prunus.evaluation import evaluate
from prunus.holding import hold
from prunus.laboratory import Task
from prunus.mask import Mask
from prunus.recipe.lottery_ticket import Hunt
from prunus.recipe.replicates import Measured
from prunus.report.page import write_page
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot
from prunus.store import Store
from prunus.training import train

TASK = Task.of("lenet-300-100", "digits", start="glorot")
DIGITS = TASK.read()
SETTINGS = Settings(steps=20, batch=60, optimizer="adam", learning_rate=5e-3)
HUNT = Hunt(TASK, SETTINGS, rounds=2, keep=0.4, keeps=(("fc3.weight", 0.7),), seeds=(3, 5))


def trained(
    start: Snapshot | dict[str, Tensor],
    seed: int,
    mask: Mask | None = None,
    *,
    begin: int = 0,
    end: int | None = None,
    frozen: bool = False,
) -> Snapshot:
    """`start`, its optimizer too if it has one, after training from step `begin` to step `end` or the last."""
    model = TASK.network(99)
    optimizer = make_optimizer(model, SETTINGS)
    with torch.random.fork_rng(devices=[]):
        if isinstance(start, Snapshot):
            start.restore(model, optimizer if start.optimizer else None)
            begin = start.step
        else:
            model.load_state_dict(start)
        at = {name: value.clone() for name, value in model.state_dict().items()} if frozen else None
        with hold(optimizer, model, mask or Mask({}), at=at):
            train(model, DIGITS, SETTINGS, seed=seed, optimizer=optimizer, begin=begin, end=end)
    return Snapshot.take(model, optimizer, step=SETTINGS.steps if end is None else end)


def drawn(seed: int) -> dict[str, Tensor]:
    """Weights and biases as `seed` draws them."""
    return {name: value.clone() for name, value in TASK.network(seed).state_dict().items()}


def accuracy(weights: dict[str, Tensor]) -> float:
    """Percent right on the test part."""
    model = TASK.network(99)
    model.load_state_dict(weights)
    return 100 - evaluate(model, DIGITS.test()).error


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def is_on_the_page(store: Store, lines: Mapping[str, Sequence[Measured]], page: Path) -> None:
    """The one study in `store` is a table of `lines`, and the page tells the run behind every figure."""
    (study,) = store.studies()
    for row in study["rows"]:
        for cell, one in zip(row[1:], lines[row[0]], strict=True):
            assert cell == {"mean": one.mean, "spread": one.deviation, "runs": list(one.runs)}
    write_page(store, page)
    text = page.read_text()
    assert all(run in text for line in lines.values() for one in line for run in one.runs)


def kept_counts(mask: Mask) -> list[int]:
    return [int(kept.sum()) for kept in mask.values()]


def kinds(store: Store) -> Counter[str]:
    return Counter(store.specification_of(run)["kind"] for run in store.runs())
