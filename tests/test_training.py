import contextlib
import dataclasses
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus import training
from prunus.data import Data, load
from prunus.errors import DivergedError, FormatError, PrunusError
from prunus.evaluation import evaluate
from prunus.models import build
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot
from prunus.training import History, _Batches, _Host, train

DIGITS = load("digits")
MNIST = Path(os.environ.get("PRUNUS_DATA", "/nothing")) / "mnist"


class Noisy(nn.Module):
    """Dropout, BatchNorm and a buffer: everything that can make two runs differ."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, 32)
        self.norm = nn.BatchNorm1d(32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.dropout(F.relu(self.norm(self.fc1(images.flatten(1)))), 0.2, self.training)
        return self.fc2(hidden)  # type: ignore[no-any-return]


def noisy() -> Noisy:
    torch.manual_seed(0)
    return Noisy()


SETTINGS = Settings(steps=50, batch=100, decay="cosine", warm_up=5, augment=True, label_smoothing=0.1)


def same(first: nn.Module, second: nn.Module) -> bool:
    others = second.state_dict()
    return all(torch.equal(value, others[name]) for name, value in first.state_dict().items())


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


class Counter:
    """A stateful part: what it adds to the weights depends on all its past."""

    def __init__(self, model: Noisy) -> None:
        self.model, self.count = model, torch.zeros(())

    def __call__(self, step: int) -> None:
        self.count = self.count * 0.5 + step
        with torch.no_grad():
            self.model.fc2.bias[0] = self.count

    def state_dict(self) -> dict[str, Tensor]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.count = state["count"].clone()


class StoppedError(Exception):
    pass


def run(checkpoint: Path | None, *, stop: int | None = None, **changes: Any) -> tuple[Noisy, History | None]:
    """Train with everything on; with `stop`, an exception comes after that step and its checkpoint."""
    model = noisy()
    counter = Counter(model)

    def on_step(step: int) -> None:
        if stop is not None and step > stop:
            raise StoppedError
        counter(step)

    settings = dataclasses.replace(SETTINGS, **changes)
    try:
        history = train(
            model,
            DIGITS,
            settings,
            seed=1,
            on_step=on_step,
            stateful={"count": counter},
            checkpoint=checkpoint,
            every=0,
        )
    except StoppedError:
        return model, None
    return model, history


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("stop", [1, 13, 26, 49])  # an epoch is 13 steps
def test_resumed_run_ends_with_the_same_bits(tmp_path: Path, stop: int, optimizer: str) -> None:
    undisturbed, history = run(None, optimizer=optimizer)
    run(tmp_path / "run", stop=stop, optimizer=optimizer)
    resumed, again = run(tmp_path / "run", optimizer=optimizer)
    assert same(resumed, undisturbed)
    assert again == history


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first, history = run(tmp_path / "run")

    def refuse(*_: object) -> Tensor:
        raise AssertionError("trained again")

    model = noisy()
    counter = Counter(model)
    again = train(
        model, DIGITS, SETTINGS, seed=1, loss=refuse, stateful={"count": counter}, checkpoint=tmp_path / "run"
    )
    assert same(model, first)
    assert again == history


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: a.update(seed=2), "its seed is 1, not 2"),
        (lambda a: a.update(settings=dataclasses.replace(SETTINGS, batch=90)), "its batch is 100, not 90"),
        (lambda a: a["model"].fc1.weight.data.mul_(2), "its start is"),
        (lambda a: a.update(data=dataclasses.replace(DIGITS, fingerprint="x")), "its data is .* digits, not x"),
    ],
)
def test_checkpoint_of_another_run_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    arguments = {"model": noisy(), "data": DIGITS, "settings": SETTINGS, "seed": 1}
    train(**arguments, checkpoint=tmp_path / "run")  # type: ignore[arg-type]
    arguments["model"] = noisy()
    change(arguments)
    before = [value.clone() for value in arguments["model"].state_dict().values()]  # type: ignore[attr-defined]
    with pytest.raises(PrunusError, match=sentence):
        train(**arguments, checkpoint=tmp_path / "run")  # type: ignore[arg-type]
    after = arguments["model"].state_dict().values()  # type: ignore[attr-defined]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_broken_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"nothing of the kind")
    with pytest.raises(FormatError, match="run is not a snapshot file"):
        run(tmp_path / "run")


KILLED = """
import os, signal, sys
from this_module import run

path, moment, place = sys.argv[1], int(sys.argv[2]), sys.argv[3]
replace, writes = os.replace, 0

def counted(source, target):
    global writes
    writes += 1
    if place == "after":
        replace(source, target)
    if writes == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    if place == "before":
        replace(source, target)

os.replace = counted
run(path)
"""


def run_script(tmp_path: Path, script: str, *arguments: str) -> int:
    """Run `script` in a process of its own, where this file can be imported as `this_module`."""
    (tmp_path / "this_module.py").write_text(Path(__file__).read_text())
    (tmp_path / "script.py").write_text(script)
    return subprocess.run([sys.executable, tmp_path / "script.py", *arguments], timeout=300).returncode


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_killed_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    undisturbed, history = run(None)
    for moment, place in (("2", "after"), ("17", "before"), ("20", "after")):
        assert run_script(tmp_path, KILLED, str(tmp_path / "run"), moment, place) == -signal.SIGKILL
    resumed, again = run(tmp_path / "run")
    assert same(resumed, undisturbed)
    assert again == history


TWO_PROCESSES = """
import sys, torch
from lightning_fabric import Fabric
from this_module import DIGITS, train_in_two_processes

def work(fabric):
    torch.save(train_in_two_processes(fabric, sys.argv[1]), f"{sys.argv[1]}/{fabric.global_rank}.pt")

if __name__ == "__main__":
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn")
    fabric.launch(work)
"""
PLAIN = Settings(steps=20, batch=100, optimizer="sgd", learning_rate=0.01)


def train_in_two_processes(fabric: Any, folder: str) -> dict[str, Any]:
    """What test_two_processes looks at, as one of them."""
    torch.set_num_threads(1)
    training._LOOKED_AT_EVERY = 10
    plain = build("lenet-300-100", DIGITS, seed=fabric.global_rank)  # the first one's start is the start of all
    history = train(plain, DIGITS, PLAIN, seed=3, fabric=fabric)

    long, checkpoint = dataclasses.replace(SETTINGS, steps=30), f"{folder}/run"
    undisturbed, resumed = noisy(), noisy()
    train(undisturbed, DIGITS, long, seed=3, fabric=fabric)

    def stop(step: int) -> None:
        if step > 25:
            raise StoppedError

    with contextlib.suppress(StoppedError):
        train(noisy(), DIGITS, long, seed=3, fabric=fabric, checkpoint=checkpoint, every=0, on_step=stop)
    reached = Snapshot.load(checkpoint).step
    train(resumed, DIGITS, long, seed=3, fabric=fabric, checkpoint=checkpoint, every=0)

    spoilt = noisy()

    def spoil(step: int) -> None:
        if step == 7 and fabric.global_rank == 1:
            with torch.no_grad():
                spoilt.fc2.bias[0] = math.nan

    message = ""
    try:
        train(spoilt, DIGITS, SETTINGS, seed=3, fabric=fabric, on_step=spoil)
    except DivergedError as error:
        message = str(error)
    models = {"plain": plain, "undisturbed": undisturbed, "resumed": resumed}
    states = {name: model.state_dict() for name, model in models.items()}
    return {**states, "losses": history.losses, "reached": reached, "message": message}


def test_two_processes(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    assert run_script(tmp_path, TWO_PROCESSES, str(tmp_path)) == 0
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name in ("plain", "undisturbed", "resumed"):
        assert all(torch.equal(value, second[name][key]) for key, value in first[name].items())
    assert first["losses"] == second["losses"]

    alone = build("lenet-300-100", DIGITS, seed=0)
    history = train(alone, DIGITS, PLAIN, seed=3)
    for name, value in alone.state_dict().items():  # the halves of a batch are the batch
        torch.testing.assert_close(first["plain"][name], value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(first["losses"], history.losses, rtol=1e-4)

    assert first["reached"] == 20
    assert all(torch.equal(value, first["resumed"][key]) for key, value in first["undisturbed"].items())
    assert "loss is nan at step 8" in first["message"]
    assert "loss is nan at step 8" in second["message"]


def test_batch_that_cannot_be_divided() -> None:
    with pytest.raises(PrunusError, match="batch 99 cannot be divided among 2 processes"):
        _Batches(DIGITS, Settings(steps=1, batch=99), 0, torch.device("cpu"), _Host(noisy(), None, processes=2))


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


def test_diverging_run_names_step_and_place() -> None:
    model = build("lenet-300-100", DIGITS, seed=0)

    def spoil(step: int) -> None:
        if step == 7:
            with torch.no_grad():
                model.get_parameter("fc2.weight")[0, 0] = math.nan

    with pytest.raises(DivergedError, match=r"loss is nan at step 8: parameter 'fc2\.weight' holds NaN or infinity"):
        train(model, DIGITS, Settings(steps=50), seed=0, on_step=spoil)


def test_learning_rate_that_is_far_too_high() -> None:
    model = build("lenet-300-100", DIGITS, seed=0)
    with pytest.raises(DivergedError, match=r"loss is (nan|inf) at step [2-9]: the output of layer 'fc\d'"):
        train(model, DIGITS, Settings(steps=50, optimizer="sgd", learning_rate=1e30), seed=0)


def test_layer_that_overflows_is_named() -> None:
    model = build("lenet-300-100", DIGITS, seed=0)
    with torch.no_grad():
        model.get_parameter("fc2.weight").fill_(3e38)
    with pytest.raises(DivergedError, match=r"at step 1: the output of layer 'fc2' holds NaN or infinity"):
        train(model, DIGITS, Settings(steps=50), seed=0)


@pytest.mark.parametrize(("moment", "sentence"), [(0, "before the first step"), (3, "after step 3")])
def test_weight_that_is_not_finite_at_either_end(moment: int, sentence: str) -> None:
    model = build("lenet-300-100", DIGITS)

    def spoil(step: int) -> None:
        if step == moment:
            with torch.no_grad():
                model.get_parameter("fc3.bias")[0] = math.inf

    spoil(0)
    with pytest.raises(DivergedError, match=rf"parameter 'fc3\.bias' holds NaN or infinity {sentence}"):
        train(model, DIGITS, Settings(steps=3), seed=0, on_step=spoil)


def test_progress_is_told_and_ends_with_the_total() -> None:
    told: list[tuple[str, int, int, str]] = []
    train(noisy(), DIGITS, SETTINGS, seed=0, title="retrain", progress=lambda *report: told.append(report))
    assert [report[:3] for report in told] == [("retrain", step, 50) for step in (20, 40, 50)]
    assert all(report[3].startswith("loss ") and float(report[3][5:]) > 0 for report in told)


def test_nothing_to_do(tmp_path: Path) -> None:
    model = noisy()
    assert train(model, DIGITS, Settings(steps=0), seed=0, checkpoint=tmp_path / "run") == History(0, ())
    assert same(model, noisy())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "give either epochs or steps, found None epochs and None steps"),
        ({"epochs": 1, "steps": 1}, "give either epochs or steps"),
        ({"epochs": -1}, "epochs must be at least 0, found -1"),
        ({"epochs": 1, "batch": 0}, "batch must be at least 1, found 0"),
        ({"epochs": 1, "learning_rate": -1.0}, "learning_rate must be from 0 to below inf, found -1.0"),
        ({"epochs": 1, "learning_rate": math.nan}, "learning_rate must be from 0 to below inf, found nan"),
        ({"epochs": 1, "label_smoothing": 1.0}, "label_smoothing must be from 0 to below 1, found 1.0"),
        ({"epochs": 1, "decay": "cosin"}, "unknown decay 'cosin', did you mean 'cosine'"),
        ({"epochs": 1, "precision": "64"}, "unknown precision '64'"),
    ],
)
def test_bad_settings(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PrunusError, match=sentence):
        Settings(**changes)


def test_batch_larger_than_the_data() -> None:
    with pytest.raises(PrunusError, match="batch 2000 is larger than the 1350 training rows of 'digits'"):
        train(noisy(), DIGITS, Settings(epochs=1, batch=2000), seed=0)


def test_half_precision_on_the_cpu(tmp_path: Path) -> None:
    settings = Settings(epochs=8, batch=64, precision="bf16-mixed", augment=True)
    seen: set[torch.dtype] = set()
    models = [build("lenet-300-100", DIGITS, seed=0) for _ in range(2)]
    models[0].get_submodule("fc2").register_forward_hook(lambda _m, _i, output: seen.add(output.dtype))
    for model in models:
        train(model, DIGITS, settings, seed=0, checkpoint=tmp_path / "run")
    assert seen == {torch.bfloat16}
    assert same(*models)
    assert models[0].get_parameter("fc1.weight").dtype == torch.float32
    assert evaluate(models[0], DIGITS.validation).error < 20
    with pytest.raises(PrunusError, match="'16-mixed' needs a GPU"):
        train(models[0], DIGITS, dataclasses.replace(settings, precision="16-mixed"), seed=0)


def test_precision_of_a_given_fabric_must_be_the_one_asked_for() -> None:
    fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1)
    with pytest.raises(PrunusError, match="ask for precision 'bf16-mixed', the Fabric given has '32-true'"):
        train(noisy(), DIGITS, dataclasses.replace(SETTINGS, precision="bf16-mixed"), seed=0, fabric=fabric)


def test_one_process_of_fabric_is_torch_alone(tmp_path: Path) -> None:
    fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1)
    alone, hosted, resumed = noisy(), noisy(), noisy()
    path = tmp_path / "run"
    histories = [
        train(alone, DIGITS, SETTINGS, seed=1, checkpoint=path),
        train(hosted, DIGITS, SETTINGS, seed=1, fabric=fabric),
        train(resumed, DIGITS, SETTINGS, seed=1, fabric=fabric, checkpoint=path),
    ]
    assert same(alone, hosted)
    assert same(alone, resumed)
    assert histories[0] == histories[1] == histories[2]
