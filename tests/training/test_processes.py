"""Lightning Fabric: one process, two processes, and the precision they train in."""

import contextlib
import dataclasses
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from prunus import training
from prunus.errors import DivergedError, PrunusError
from prunus.evaluation import evaluate
from prunus.mask import Mask
from prunus.models import build
from prunus.rewiring import evolutionary
from prunus.settings import Settings
from prunus.snapshot import Snapshot
from prunus.sparse import hold_sparse
from prunus.training import train

from .runs import DIGITS, SETTINGS, StoppedError, noisy, run_script, same

TWO_PROCESSES = """
import sys, torch
from lightning_fabric import Fabric
from training.test_processes import train_in_two_processes

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
    swapped = noisy()
    optimizer = torch.optim.SGD(swapped.parameters(), lr=0.1)
    with hold_sparse(optimizer, swapped, Mask({"fc1.weight": torch.eye(32, 64) > 0}), below=0.5) as held:
        moving = evolutionary(held, optimizer, swapped, every=2, end=9, fraction=1.0)
        with pytest.raises(PrunusError, match="layers were swapped while several processes train"):
            train(swapped, DIGITS, PLAIN, seed=3, fabric=fabric, optimizer=optimizer, on_step=moving)
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


def test_a_precision_is_not_talked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[logging.LogRecord] = []
    fabric_logger = logging.getLogger("lightning_fabric")
    level, handler = fabric_logger.level, logging.Handler()
    monkeypatch.setattr(handler, "emit", said.append)
    fabric_logger.addHandler(handler)
    try:
        train(noisy(), DIGITS, dataclasses.replace(SETTINGS, precision="bf16-mixed"), seed=0)
        Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    finally:
        fabric_logger.removeHandler(handler)
    assert fabric_logger.level == level
    assert len(said) == 1  # of the Fabric that is not ours


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
