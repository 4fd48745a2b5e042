"""What a round of the ticket laboratory costs beside a loop written by hand with the same arithmetic, and on two cores.

    python benchmarks/imp_round.py [--rounds 5] [--steps 10000]

LeNet-300-100 on MNIST, batch 60, fused Adam, density 0.2, one thread, denormals flushed in both: steps a second of a
`Trained` piece (validation curve and test error included) against the bare loop with as many evaluations, in turns;
the ratio is the median over the rounds. Then a search of two rounds: one replicate in one process, two in two.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F

from machine import keep
from prunus.denormals import flushed
from prunus.laboratory import Drawn, Pruned, Task, Trained, pool, serial
from prunus.laboratory.engine import one_thread
from prunus.laboratory.trained import moments
from prunus.recipe.lottery_ticket import Hunt, hunt_tickets
from prunus.recipe.usual import ticket_settings, ticket_task, usual_hunt
from prunus.settings import Settings
from prunus.store import Store


class Bare:
    """The loop by hand: normalised images in memory, gradients and weights multiplied by the mask."""

    def __init__(self, task: Task, mask: dict[str, torch.Tensor]) -> None:
        data = task.read()
        self.parts = {}
        for name, split in (("train", data.train), ("validation", data.validation), ("test", data.test())):
            self.parts[name] = (split.normalise(split.inputs).flatten(1), split.labels)
        self.task, self.mask = task, mask

    @torch.no_grad()
    def evaluate(self, model: torch.nn.Module, part: str) -> tuple[float, float]:
        wrong, loss = 0, 0.0
        inputs, labels = self.parts[part]
        for x, y in zip(inputs.split(1000), labels.split(1000), strict=True):
            logits = model(x)
            wrong += (logits.argmax(1) != y).sum().item()
            loss += F.cross_entropy(logits, y, reduction="sum").item()
        return wrong / len(labels), loss / len(labels)

    def __call__(self, settings: Settings) -> None:
        torch.manual_seed(0)
        model = self.task.network()
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
        masked = [(p, self.mask[name]) for name, p in model.named_parameters() if name in self.mask]
        with torch.no_grad():
            for parameter, mask in masked:
                parameter.mul_(mask)
        inputs, labels = self.parts["train"]
        batch, looks = settings.batch, set(moments(0, settings.steps))
        per_epoch = len(labels) // batch
        for step in range(settings.steps):
            place = step % per_epoch
            if place == 0:
                order = torch.randperm(len(labels))
            rows = order[place * batch : (place + 1) * batch]
            loss = F.cross_entropy(model(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter, mask in masked:
                    parameter.grad.mul_(mask)
            optimizer.step()
            with torch.no_grad():
                for parameter, mask in masked:
                    parameter.mul_(mask)
            if step + 1 in looks:
                self.evaluate(model, "validation")
        self.evaluate(model, "test")
        self.evaluate(model, "test")


def against_bare(task: Task, settings: Settings, rounds: int, folder: Path) -> list[float]:
    """Seconds by hand over seconds of the laboratory, round by round."""
    store = Store(folder / "store")
    drawn = Drawn(task, 0)
    mask = Pruned(task, drawn, keep=0.2)
    serial(store, [mask])
    bare, ratios = Bare(task, {name: kept.float() for name, kept in store.result(mask).items()}), []
    with one_thread(), flushed():
        for number in range(rounds):
            start = time.perf_counter()
            bare(settings)
            middle = time.perf_counter()
            store.make(Trained(task, drawn, settings, number, mask=mask))
            end = time.perf_counter()
            ratios.append((middle - start) / (end - middle))
            steps = settings.steps
            print(f"bare {steps / (middle - start):7.1f} steps/s, laboratory {steps / (end - middle):7.1f}", flush=True)
    return ratios


def on_two_cores(hunt: Hunt, folder: Path) -> tuple[float, float]:
    """Seconds of one replicate in one process, and of two in two."""
    seconds = []
    for processes, seeds in ((1, (0,)), (2, (0, 1))):
        start = time.perf_counter()
        hunt_tickets(replace(hunt, seeds=seeds), Store(folder / f"{processes}"), pool(processes))
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10_000)
    options = parser.parse_args()
    task = ticket_task("lenet-300-100", "mnist")
    settings = replace(ticket_settings("lenet-300-100"), steps=options.steps)
    with TemporaryDirectory() as folder:
        ratios = against_bare(task, settings, options.rounds, Path(folder))
        one, two = on_two_cores(usual_hunt(task, settings, rounds=2, keep=0.8), Path(folder))
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"steps a second, laboratory / bare: {middle:.3f} [{low:.3f}, {high:.3f}]")
    print(f"one replicate on one core {one:.1f} s, two on two {two:.1f} s: {two / one:.2f}")
    keep("imp-round", {"options": vars(options), "ratios": ratios, "one_replicate": one, "two_on_two": two})


if __name__ == "__main__":
    main()
