"""What zeros pay in training: whole steps beside dense ones, and searches for tickets whose rounds get cheaper.

    python benchmarks/sparse_training.py steps [--rounds 40] [--threads 2]
    python benchmarks/sparse_training.py search --store STORE [--model lenet-300-100] [--steps 2000] [--rounds 16]
        [--keep 0.8] [--below 0.4]
    python benchmarks/sparse_training.py gradual [--steps 3000] [--density 0.05] [--below 0.4] [--seeds 3]
    python benchmarks/sparse_training.py rewiring [--steps 2000] [--densities 0.05 0.02] [--below 0.4] [--seeds 3]
    python benchmarks/sparse_training.py rounding [--steps 2000] [--density 0.05] [--seeds 3]

`steps`: a step (forward, backward, SGD with momentum, batch 128) of LeNet-300-100, of 784-1024-1024-10 and of
ResNet-20, dense, held under a mask, and with the layers that `prunus.sparsify` finds faster sparse; masks of densities
by ERK (Evci et al. 2020); in random order, ratios to the dense step taken within a round; medians and quartiles.
`search`: iterative magnitude pruning to KEEP^ROUNDS with every network trained under a mask, and the same with layers
of at most the density BELOW trained sparse; one process of one thread, and a new folder STORE; seconds of the processor
and what is right on the test part; in all, and of the rounds with at most half of the weights.
`gradual`: 784-1024-1024-10 on MNIST, pruned along a cubic schedule in the first half of a run to DENSITY, held under a
mask, with layers of at most BELOW sparse, and with those that are found faster; one thread; seconds of the processor
and validation errors.
`rewiring`: LeNet-300-100 and 784-1024-1024-10 on MNIST, sparse from the start by RigL and by SET, with ERK, held
under a mask and with layers of at most BELOW sparse, in turns of 100 steps; one thread; seconds of the processor, their
ratios within a turn, validation errors, and the part in which the two masks differ at the end.
`rounding`: 784-1024-1024-10 by RigL as before, twice under a mask, from weights that differ in their last bit: how far
apart rounding alone takes the masks.
Writes results/sparse-training-*.json.
"""

import argparse
import itertools
import os
import random
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer

from experiment import print_table
from machine import keep
from prunus import Hold, Mask, SparseHold, hold, hold_sparse, prune, scope, score, sparsify
from prunus.data import load
from prunus.denormals import flushed
from prunus.evaluation import evaluate
from prunus.gradual import Gradual
from prunus.laboratory import Engine, Task
from prunus.laboratory.engine import one_thread
from prunus.laboratory.order import missing
from prunus.models import build
from prunus.progress import Progress, silent
from prunus.recipe.lottery_ticket import hunt_tickets
from prunus.recipe.usual import ticket_settings, ticket_task, usual_hunt
from prunus.rewiring import Rewiring, evolutionary, rigl
from prunus.schedule import cubic
from prunus.settings import Settings, make_optimizer
from prunus.store import Piece, Store, identity
from prunus.training import train
from prunus.tree import weights

FILE = os.path.relpath(Path(__file__).with_name("networks.py"))
MLP = f"{FILE}:mlp_1024"
SHAPES = {"lenet-300-100": (1, 28, 28), MLP: (1, 28, 28), "resnet-20": (3, 32, 32)}
DENSITIES = (0.1, 0.05, 0.02)
BATCH = 128
TURN = 100  # steps

Run = tuple[nn.Module, Optimizer, Any, Rewiring]  # with what holds its mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    first = verbs.add_parser("steps")
    first.add_argument("--rounds", type=int, default=40)
    first.add_argument("--threads", type=int, default=torch.get_num_threads())
    second = verbs.add_parser("search")
    second.add_argument("--store", type=Path, required=True)
    second.add_argument("--model", default=MLP)
    second.add_argument("--data", default="mnist")
    second.add_argument("--steps", type=int, default=2000)
    second.add_argument("--rounds", type=int, default=16)
    second.add_argument("--keep", type=float, default=0.8)
    second.add_argument("--below", type=float, default=0.4)
    third = verbs.add_parser("gradual")
    third.add_argument("--steps", type=int, default=3000)
    third.add_argument("--density", type=float, default=0.05)
    third.add_argument("--below", type=float, default=0.4)
    third.add_argument("--seeds", type=int, default=3)
    fourth = verbs.add_parser("rewiring")
    fourth.add_argument("--steps", type=int, default=2000)
    fourth.add_argument("--densities", type=float, nargs="+", default=[0.05, 0.02])
    fourth.add_argument("--below", type=float, default=0.4)
    fourth.add_argument("--seeds", type=int, default=3)
    fifth = verbs.add_parser("rounding")
    fifth.add_argument("--steps", type=int, default=2000)
    fifth.add_argument("--density", type=float, default=0.05)
    fifth.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    chosen = {"steps": steps, "search": search, "gradual": gradual, "rewiring": rewiring, "rounding": rounding}
    chosen[options.verb](options)


def steps(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    rows = []
    for name in SHAPES:
        for density in DENSITIES:
            rows.append(compared(name, density, options.rounds))
            print(rows[-1], flush=True)
    keep("sparse-training-steps", {"batch": BATCH, "threads": options.threads, "rows": rows})
    print_table(
        ["network", "% kept", "dense, ms", "masked", "sparse", "sparse layers"],
        [
            [
                row["network"],
                f"{100 * row['density']:g}",
                f"{row['dense'][1] * 1e3:.2f}",
                *(f"{low:.2f}x [{least:.2f}, {most:.2f}]" for least, low, most in (row["masked"], row["sparse"])),
                str(row["layers"]),
            ]
            for row in rows
        ],
    )


def compared(name: str, density: float, rounds: int) -> dict[str, object]:
    """Quartiles of the seconds of a dense step, and of how many times faster the others are."""
    torch.manual_seed(0)
    shape = SHAPES[name]
    images, labels = torch.randn(BATCH, *shape), torch.randint(10, (BATCH,))
    dense = network(name, shape)
    mask = prune(dense, score.magnitude, density=density, scope=scope.erk)
    masked, sparse = deepcopy(dense), deepcopy(dense)
    mask.apply_to(masked)
    mask.apply_to(sparse)
    networks = (dense, masked, sparse)
    optimizers = [torch.optim.SGD(one.parameters(), lr=1e-4, momentum=0.9, fused=True) for one in networks]
    hold(optimizers[1], masked, mask)
    found = sparsify(sparse, mask, example=images, optimizer=optimizers[2])
    hold(optimizers[2], sparse, found.mask)
    ways = [step_of(one, optimizer, images, labels) for one, optimizer in zip(networks, optimizers, strict=True)]
    seconds: list[list[float]] = [[], [], []]
    with flushed():
        for number in range(rounds + 3):
            for way in random.sample(range(3), 3):
                started = time.perf_counter()
                ways[way]()
                if number >= 3:
                    seconds[way].append(time.perf_counter() - started)
    return {
        "network": name.rpartition(":")[2],
        "density": density,
        "dense": quantiles(seconds[0], n=4),
        "masked": quantiles([a / b for a, b in zip(seconds[0], seconds[1], strict=True)], n=4),
        "sparse": quantiles([a / b for a, b in zip(seconds[0], seconds[2], strict=True)], n=4),
        "layers": len(found.sparse),
        "chosen": str(found),
    }


def network(name: str, shape: tuple[int, int, int]) -> nn.Module:
    if name == MLP:
        from networks import mlp_1024

        return mlp_1024(shape, 10)
    return build(name)


def step_of(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor
) -> Callable[[], None]:
    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def search(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    options.store.mkdir(parents=True, exist_ok=True)
    task = Task.of(options.model, options.data) if ":" in options.model else ticket_task(options.model, options.data)
    task.read()
    settings = replace(ticket_settings(options.model), steps=options.steps, epochs=None)
    ways: dict[str, dict[str, object]] = {}
    for name, below in (("masked", 0.0), ("sparse", options.below)):
        hunt = usual_hunt(task, replace(settings, sparse_below=below), rounds=options.rounds, keep=options.keep)
        seconds: dict[str, float] = {}
        rounds = hunt_tickets(hunt, Store(options.store / name), timed(seconds))
        ways[name] = {
            "seconds": sum(seconds.values()),
            "densities": [found.density for found in rounds],
            "accuracies": [found.accuracy[0] for found in rounds],
            "seconds of runs": [seconds[found.runs[0]] for found in rounds],
        }
    ratio = ways["sparse"]["seconds"] / ways["masked"]["seconds"]  # type: ignore[operator]
    late = seconds_of_late(ways["sparse"]) / seconds_of_late(ways["masked"])
    about = {name: getattr(options, name) for name in ("model", "data", "steps", "rounds", "keep", "below")}
    keep(
        f"sparse-training-search-{options.model.rpartition(':')[2]}",
        {**about, "ratio": ratio, "ratio at most half": late, **ways},
    )
    print_table(
        ["% kept", "masked: % right", "seconds", "sparse: % right", "seconds"],
        [
            [f"{100 * density:.1f}", *(f"{value:.2f}" for value in row)]
            for density, *row in zip(
                ways["masked"]["densities"],
                ways["masked"]["accuracies"],
                ways["masked"]["seconds of runs"],
                ways["sparse"]["accuracies"],
                ways["sparse"]["seconds of runs"],
                strict=True,
            )
        ],
    )
    sparse, masked = (ways[name]["seconds"] for name in ("sparse", "masked"))
    print(f"{sparse:.0f} s sparse, {masked:.0f} s masked: {ratio:.2f}; {late:.2f} of rounds with at most half")


def gradual(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    data = load("mnist")
    settings = Settings(steps=options.steps, learning_rate=1.2e-3, decay="cosine")
    end = options.steps // 2
    images = data.train.normalise(data.train.inputs[: settings.batch])
    ways: dict[str, Callable[..., Hold | SparseHold]] = {
        "masked": hold,
        "below": partial(hold_sparse, below=options.below),
        "measured": partial(hold_sparse, example=images),
    }
    rows = []
    for seed in range(options.seeds):
        for name, way in ways.items():
            torch.manual_seed(seed)
            model = network(MLP, SHAPES[MLP])
            optimizer = make_optimizer(model, settings)
            started = time.process_time()
            with way(optimizer, model, Mask.dense(model)) as held:
                pruning = Gradual(held, cubic(options.density, begin=0, end=end), end=end)
                train(model, data, settings, seed=seed, optimizer=optimizer, on_step=pruning)
            seconds = time.process_time() - started
            error = evaluate(model, data.validation).error
            rows.append({"way": name, "seed": seed, "seconds": seconds, "error": error, "density": held.mask.density})
            print(rows[-1], flush=True)
    about = {name: getattr(options, name) for name in ("steps", "density", "below", "seeds")}
    keep("sparse-training-gradual", {**about, "rows": rows})


def rewiring(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    cases = itertools.product(range(options.seeds), (MLP, "lenet-300-100"), (rigl, evolutionary), options.densities)
    about = {name: getattr(options, name) for name in ("steps", "below", "seeds")}
    rows = []
    for seed, name, method, density in cases:
        rows.append(rewired(name, method, density, seed, options.steps, options.below))
        print(rows[-1], flush=True)
        keep("sparse-training-rewiring", {**about, "rows": rows})


def rewired(
    name: str, method: Callable[..., Rewiring], density: float, seed: int, steps: int, below: float
) -> dict[str, object]:
    """Seconds of the processor, held under a mask and sparse, quartiles of the ratios of turns, and errors."""
    with ExitStack() as stack:
        ways = (hold, partial(hold_sparse, below=below))
        runs = [moving(stack, name, method, density, seed, steps, way=way) for way in ways]
        turns = in_turns(runs, seed, steps)
        masked, sparse = (held.mask for _, _, held, _ in runs)
    validation = load("mnist").validation
    return {
        "network": name.rpartition(":")[2],
        "method": method.__name__,
        "density": masked.density,
        "seed": seed,
        "seconds": [sum(seconds) for seconds in turns],
        "ratio": quantiles([a / b for a, b in zip(*turns, strict=True)], n=4),
        "errors": [evaluate(model, validation).error for model, *_ in runs],
        "distance": masked.distance(sparse),
    }


def rounding(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    rows = []
    for seed in range(options.seeds):
        with ExitStack() as stack:
            runs = [moving(stack, MLP, rigl, options.density, seed, options.steps, nudged=one) for one in (False, True)]
            in_turns(runs, seed, options.steps)
            first, second = (held.mask for _, _, held, _ in runs)
        validation = load("mnist").validation
        errors = [evaluate(model, validation).error for model, *_ in runs]
        rows.append({"seed": seed, "errors": errors, "distance": first.distance(second)})
        print(rows[-1], flush=True)
        keep("sparse-training-rounding", {"steps": options.steps, "density": first.density, "rows": rows})


def moving(
    stack: ExitStack,
    name: str,
    method: Callable[..., Rewiring],
    density: float,
    seed: int,
    steps: int,
    *,
    way: Callable[..., Any] = hold,
    nudged: bool = False,
) -> Run:
    """What is to be trained with a mask that moves: held until `stack` closes; `nudged` in the last bit of weights."""
    torch.manual_seed(seed)
    model = network(name, SHAPES[name])
    generator = torch.Generator().manual_seed(seed)
    mask = prune(model, score.chance, density, scope=scope.erk, generator=generator)
    if nudged:
        for weight in weights(model).values():
            weight.data = weight.data.nextafter(torch.full_like(weight, torch.inf))
    optimizer = make_optimizer(model, rewiring_settings(steps))
    held = stack.enter_context(way(optimizer, model, mask))
    return model, optimizer, held, method(held, optimizer, model, end=3 * steps // 4)


def in_turns(runs: list[Run], seed: int, steps: int) -> list[list[float]]:
    """Seconds of the processor that each of the `runs` took for each `TURN` of steps."""
    data, settings = load("mnist"), rewiring_settings(steps)
    found: list[list[float]] = [[] for _ in runs]
    for begin in range(0, steps, TURN):
        part = {"begin": begin, "end": min(begin + TURN, steps)}
        for (model, optimizer, _, rewire), seconds in zip(runs, found, strict=True):
            started = time.process_time()
            train(model, data, settings, seed=seed, optimizer=optimizer, on_step=rewire, **part)
            seconds.append(time.process_time() - started)
    return found


def rewiring_settings(steps: int) -> Settings:
    return Settings(steps=steps, learning_rate=1.2e-3, decay="cosine")


def seconds_of_late(way: dict[str, Any]) -> float:
    """Of the runs with at most half of the weights."""
    pairs = zip(way["densities"], way["seconds of runs"], strict=True)
    return sum(seconds for density, seconds in pairs if density <= 0.52)


def timed(seconds: dict[str, float]) -> Engine:
    """One piece after the other, on one thread; notes what each takes of the processor, whoever else is at work."""

    def engine(store: Store, pieces: Iterable[Piece], progress: Progress = silent) -> None:
        with one_thread():
            for piece in missing(store, pieces):
                started = time.process_time()
                store.make(piece, progress)
                seconds[identity(piece)] = time.process_time() - started

    return engine


if __name__ == "__main__":
    main()
