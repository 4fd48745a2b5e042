"""What `train` costs beside a plain loop written by hand: LeNet-300-100 on MNIST's shape, tensors in memory.

    python benchmarks/train_loop.py

All ways take turns in short rounds, so that a busy machine slows them alike; the ratio is the median over the rounds.
"""

import statistics
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from machine import keep
from prunus.data import Data, Split
from prunus.data.augment import Affine
from prunus.models import build
from prunus.settings import Settings, make_optimizer
from prunus.training import train

ROWS, STEPS, ROUNDS = 6000, 100, 11


def make_data() -> Data:
    inputs = torch.randint(0, 256, (ROWS, 1, 28, 28), dtype=torch.uint8)
    split = Split(inputs, torch.randint(0, 10, (ROWS,)), torch.tensor([127.5]), torch.tensor([73.6]))
    return Data("noise", split, split, tuple("0123456789"), Affine(), "noise", lambda: (inputs, split.labels))


def plain(model: nn.Module, optimizer: Optimizer, inputs: Tensor, labels: Tensor, batch: int) -> None:
    order = torch.randperm(ROWS)
    for step in range(STEPS):
        place = step * batch % (ROWS - batch)
        rows = order[place : place + batch]
        loss = F.cross_entropy(model(inputs[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def compare(data: Data, batch: int, kind: str, folder: Path, fabric: Fabric) -> dict[str, list[float]]:
    """Seconds of each round of each way."""
    inputs, labels = data.train.normalise(data.train.inputs), data.train.labels
    settings = Settings(steps=STEPS, batch=batch, optimizer=kind, learning_rate=1e-3)
    model = build("lenet-300-100", data)
    optimizer = make_optimizer(model, settings)

    def ours(settings: Settings = settings, **more: Any) -> None:
        train(model, data, settings, seed=0, optimizer=optimizer, **more)

    ways = {
        "plain": lambda: plain(model, optimizer, inputs, labels, batch),
        "train": ours,
        "with a checkpoint": lambda: ours(checkpoint=folder / f"{kind}-{batch}-{len(times['plain'])}"),
        "with augmentation": lambda: ours(replace(settings, augment=True)),
        "through Fabric": lambda: ours(fabric=fabric),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return times


def main() -> None:
    data, fabric = make_data(), Fabric(accelerator="cpu", devices=1)
    print(f"{torch.get_num_threads()} threads: milliseconds a step, and times the plain loop")
    rows = []
    with TemporaryDirectory() as folder:
        for batch, kind in product((60, 128), ("adam", "sgd")):
            times = compare(data, batch, kind, Path(folder), fabric)
            print(f"batch {batch}, {kind}")
            for name, seconds in times.items():
                ratio = statistics.median(a / b for a, b in zip(seconds, times["plain"], strict=True))
                rows.append({"batch": batch, "optimizer": kind, "way": name, "times_plain": round(ratio, 3)})
                print(f"  {name:20}{statistics.median(seconds) / STEPS * 1e3:8.3f} ms {ratio:6.2f}x")
    print(keep("train-loop", {"steps": STEPS, "rounds": ROUNDS, "rows": rows}))


if __name__ == "__main__":
    main()
