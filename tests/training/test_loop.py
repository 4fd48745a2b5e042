"""What a run does from its first step to its last."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.data import Data, load
from prunus.evaluation import evaluate
from prunus.models import build
from prunus.settings import Settings, make_optimizer
from prunus.training import History, train

from .runs import DIGITS, SETTINGS, noisy, same

MNIST = Path(os.environ.get("PRUNUS_DATA", "/nothing")) / "mnist"


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_equals_a_loop_written_by_hand(optimizer: str) -> None:
    settings = Settings(epochs=2, batch=128, optimizer=optimizer, learning_rate=0.01, weight_decay=1e-3)
    orders: list[Tensor] = []

    def watched(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        orders.append(inputs.flatten(1))
        return F.cross_entropy(model(inputs), labels)

    model = build("lenet-300-100", DIGITS, seed=1)
    history = train(model, DIGITS, settings, seed=4, loss=watched)

    plain = build("lenet-300-100", DIGITS, seed=1)
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=1e-3),
        "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=1e-3),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=1e-3),
    }
    by_hand = kinds[optimizer](plain.parameters())
    known = {tuple(row): int(label) for row, label in zip(flat(DIGITS), DIGITS.train.labels, strict=True)}
    losses = []
    for inputs in orders:
        labels = torch.tensor([known[tuple(row.tolist())] for row in inputs])
        by_hand.zero_grad()
        loss = F.cross_entropy(plain(inputs), labels)
        loss.backward()
        by_hand.step()
        losses.append(loss.item())
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    assert history.steps == len(losses) == 20
    np.testing.assert_allclose(history.losses, [np.mean(losses[:10]), np.mean(losses[10:])], rtol=1e-3)


def flat(data: Data) -> list[list[float]]:
    rows: list[list[float]] = data.train.normalise(data.train.inputs).flatten(1).tolist()
    return rows


def test_every_epoch_is_another_order_of_all_rows_but_a_rest() -> None:
    seen: list[list[tuple[float, ...]]] = []

    def watched(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        seen.append([tuple(row) for row in inputs.flatten(1).tolist()])
        return F.cross_entropy(model(inputs), labels)

    train(noisy(), DIGITS, Settings(epochs=2, batch=400), seed=1, loss=watched)
    rows = [tuple(row) for row in flat(DIGITS)]
    assert len(seen) == 6
    epochs = [sum(seen[:3], []), sum(seen[3:], [])]  # noqa: RUF017
    assert epochs[0] != epochs[1]
    doubles = len(rows) - len(set(rows))
    for epoch in epochs:
        assert len(epoch) == 1200
        assert len(set(epoch)) >= 1200 - doubles
        assert set(epoch) <= set(rows)


def test_learns_the_digits() -> None:
    model = build("lenet-300-100", DIGITS, seed=0)
    history = train(model, DIGITS, Settings(epochs=20, batch=64), seed=0)
    assert history.losses[-1] < 0.1 < 1 < history.losses[0] + 0.5
    assert evaluate(model, DIGITS.validation).error < 8


@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST is not in $PRUNUS_DATA")
def test_learns_mnist() -> None:
    data = load("mnist")
    model = build("lenet-300-100", data, seed=0)
    train(model, data, Settings(steps=300, batch=60), seed=0)
    assert evaluate(model, data.validation).error < 12


def test_seed_decides_every_bit() -> None:
    first, again, other = noisy(), noisy(), noisy()
    histories = [train(first, DIGITS, SETTINGS, seed=1)]
    torch.rand(3)
    histories += [train(again, DIGITS, SETTINGS, seed=1), train(other, DIGITS, SETTINGS, seed=2)]
    assert same(first, again)
    assert histories[0] == histories[1]
    assert not same(first, other)


def test_what_belongs_to_the_caller_is_left_alone() -> None:
    model = noisy()
    model.norm.eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    state = torch.get_rng_state()
    train(model, DIGITS, SETTINGS, seed=1, optimizer=optimizer)
    assert torch.equal(torch.get_rng_state(), state)
    assert (model.training, model.fc1.training, model.norm.training) == (True, True, False)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert torch.backends.cudnn.deterministic is False


def test_learning_rates_of_each_step() -> None:
    model = noisy()
    optimizer = torch.optim.SGD([{"params": [model.fc1.weight]}, {"params": [model.fc2.weight], "lr": 3.0}], lr=1.0)
    rates: list[list[float]] = []

    def note(_step: int) -> None:
        rates.append([group["lr"] for group in optimizer.param_groups])

    settings = Settings(steps=8, warm_up=2, decay="steps", drops=(0.5, 0.75), learning_rate=99.0)
    with torch.no_grad():
        optimizer.param_groups[0]["lr"] = 0.001
        optimizer.param_groups[1]["lr"] = 0.003
    train(model, DIGITS, settings, seed=0, optimizer=optimizer, on_step=note)
    shares = [0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    np.testing.assert_allclose(rates, [[0.001 * s, 0.003 * s] for s in shares])


@pytest.mark.parametrize("warm_up", [0, 3])
def test_cosine_ends_next_to_zero(warm_up: int) -> None:
    settings = Settings(steps=40, decay="cosine", warm_up=warm_up)
    shares = [settings.share_of_rate(step, 40) for step in range(40)]
    assert shares[warm_up] == 1
    assert shares[-1] == pytest.approx((math.pi / (40 - warm_up)) ** 2 / 4, rel=0.01)  # 1 - cos x is about x^2 / 2
    assert sorted(shares[warm_up:], reverse=True) == shares[warm_up:]


def test_loss_of_ones_own_and_optimizer_over_other_parameters() -> None:
    model = noisy()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    scale = nn.Parameter(torch.ones(()))

    def loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        return (scale - 3).square() + 0 * model(inputs).sum()

    train(model, DIGITS, Settings(steps=200), seed=0, optimizer=torch.optim.SGD([scale], lr=0.1), loss=loss)
    assert scale.item() == pytest.approx(3, abs=1e-4)
    assert torch.equal(model.fc1.weight, start["fc1.weight"])
    assert make_optimizer({"scale": scale}, Settings(steps=1)).param_groups[0]["params"] == [scale]


def test_progress_is_told_and_ends_with_the_total() -> None:
    told: list[tuple[str, int, int, str]] = []
    train(noisy(), DIGITS, SETTINGS, seed=0, title="retrain", progress=lambda *report: told.append(report))
    assert [report[:3] for report in told] == [("retrain", step, 50) for step in (20, 40, 50)]
    assert all(report[3].startswith("loss ") and float(report[3][5:]) > 0 for report in told)


def test_nothing_to_do(tmp_path: Path) -> None:
    model = noisy()
    assert train(model, DIGITS, Settings(steps=0), seed=0, checkpoint=tmp_path / "run") == History(0, ())
    assert same(model, noisy())
