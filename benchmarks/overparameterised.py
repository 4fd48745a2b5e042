"""Pensia et al. 2020, experiment 2: does it matter how a network is larger than it needs to be?

    python benchmarks/overparameterised.py --store STORE --processes 2 [--seeds 0 1 2] [--unscaled]
        [--network fc_2|fc_4|lenet]

Edge-popup on MNIST in three networks of as many weights, five times those of 784-500-10 (or of 784-500-500-500-10, or
of the fully connected layers of LeNet-5): wider layers, linear diamonds, diamonds with ReLU. 4 epochs in batches of 128
instead of 30 to 150 epochs in batches of 64; weights are uniform instead of normal, of the same Kaiming variances, and
larger by 1 / sqrt(density), without which so short a training gets nowhere where little is kept (--unscaled: as in the
paper). 36 runs of 1,716 steps of 30 ms on one core: 31 minutes. Writes results/overparameterised-NETWORK.json. Read off
the paper's figures for 784-500-10: wide and linear diamond 97 to 98 % from 10 to 75 % pruned; at 90 % pruned wide 97,
linear 96, ReLU 79; at 95 %, 96, 89, 57.

The trained convolutions of LeNet-5 are benchmarks/lenet-convolutions.safetensors, written by

    prunus train benchmarks/diamonds.py:lenet --data mnist --epochs 10 --no-augment -o LENET.safetensors

less the layers behind them.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from experiment import add_options, engine_of, print_table
from machine import keep
from papers import cells, plain
from prunus.laboratory import BestEdges, Supermasked, Task
from prunus.progress import shown
from prunus.recipe.replicates import check_replicates, difference, every_run, measured
from prunus.settings import Settings
from prunus.store import Store
from prunus.supermask import Start

SHAPES = ("wide", "linear_diamond", "relu_diamond")
ORDER = (("wide", "linear_diamond"), ("linear_diamond", "relu_diamond"), ("wide", "relu_diamond"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, epochs=4)
    parser.add_argument("--network", default="fc_2", choices=("fc_2", "fc_4", "lenet"))
    parser.add_argument("--densities", type=float, nargs="+", default=[0.5, 0.25, 0.1, 0.05])
    parser.add_argument("--unscaled", action="store_true")
    chosen = parser.parse_args()
    check_replicates(chosen.seeds)
    replicates = [lines_of(chosen, seed) for seed in chosen.seeds]
    store = Store(chosen.store)
    with shown() as progress:
        engine_of(chosen)(store, list(every_run(replicates)), progress)
    lines = measured(store, replicates)
    verdicts = [
        {
            "density": density,
            "first": first,
            "second": second,
            **asdict(gap := difference(lines[first][place : place + 1], lines[second][place : place + 1])),
            "holds": gap.mean > 2 * gap.error,
        }
        for place, density in enumerate(chosen.densities)
        for first, second in ORDER
    ]
    result = {
        **{name: getattr(chosen, name) for name in ("network", "data", "seeds", "epochs", "densities", "unscaled")},
        "weights": {name: weights_of(chosen, name) for name in SHAPES},
        "lines": plain(lines),
        "order": verdicts,
    }
    path = keep(f"overparameterised-{chosen.network}", result)
    print_table(["accuracy", *(f"{100 * density:g} % kept" for density in chosen.densities)], cells(lines))
    print_table(["kept", "published: better", "than", "by points ± standard error", "holds"], table_of(verdicts))
    print(path)


def lines_of(chosen: argparse.Namespace, seed: int) -> dict[str, list[Supermasked]]:
    """The runs of one seed."""
    rate = 0.01 if chosen.network == "lenet" else 0.1
    settings = Settings(epochs=chosen.epochs, optimizer="sgd", learning_rate=rate, weight_decay=5e-4, decay="cosine")
    return {
        name: [
            Supermasked(
                task_of(chosen, name),
                BestEdges(density),
                Start("uniform", seed, 1.0 if chosen.unscaled else density),
                settings,
                seed,
            )
            for density in chosen.densities
        ]
        for name in SHAPES
    }


def task_of(chosen: argparse.Namespace, name: str) -> Task:
    """Named from here: a piece's identity holds the name."""
    file = os.path.relpath(Path(__file__).with_name("diamonds.py"))
    return Task.of(f"{file}:{name}_{chosen.network}", chosen.data)


def weights_of(chosen: argparse.Namespace, name: str) -> int:
    return sum(weight.numel() for weight in task_of(chosen, name).network().parameters())


def table_of(verdicts: Sequence[dict[str, object]]) -> list[list[str]]:
    return [
        [
            f"{100 * one['density']:g} %",  # type: ignore[operator]
            str(one["first"]),
            str(one["second"]),
            f"{one['mean']:+.2f} ± {one['error']:.2f}",
            "yes" if one["holds"] else "no",
        ]
        for one in verdicts
    ]


if __name__ == "__main__":
    main()
