"""Linear mode connectivity: barriers between twins that part at step k, dense and under the mask of iterative pruning.

    python benchmarks/linear_mode.py lenet-300-100 --store STORE --processes 2
    python benchmarks/linear_mode.py resnet-20 --store STORE --processes 2 --seeds 0

LeNet as in Frankle et al. 2020, table 1 (SGD 0.1, batch 128, 40 epochs), parted at once, and pruned to 3.5 %.
ResNet-20 on CIFAR-10 for `--steps` (4,000, a sixteenth of the paper's) in bfloat16, parted at several steps, dense.
Writes results/linear-mode-MODEL.json.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from experiment import engine_of, print_table
from machine import keep
from prunus.laboratory import Task
from prunus.progress import shown
from prunus.recipe.connectivity import Instability, dense_and_sparse, measure
from prunus.recipe.lottery_ticket import Hunt
from prunus.recipe.usual import ticket_settings
from prunus.settings import Settings
from prunus.store import Store


def lenet(options: argparse.Namespace) -> tuple[Hunt, int]:
    """The search, and the points on a line."""
    settings = Settings(epochs=40, batch=128, optimizer="sgd", momentum=0.0, learning_rate=0.1)
    task = Task.of("lenet-300-100", "mnist", start="he")
    return Hunt(task, settings, rounds=15, seeds=tuple(options.seeds), keeps=(("fc3.weight", 0.9),)), 30


def resnet(options: argparse.Namespace) -> tuple[Hunt, int]:
    """The same: no rounds, and few points, as a point costs a fifth of an epoch."""
    settings = replace(ticket_settings("resnet-20"), epochs=None, steps=options.steps, precision="bf16-mixed")
    return Hunt(Task.of("resnet-20", "cifar10"), settings, rounds=0, scope="network", seeds=tuple(options.seeds)), 11


MODELS = {"lenet-300-100": (lenet, [0]), "resnet-20": (resnet, [0, 200, 1000, 2500])}


def row(one: Instability) -> list[str]:
    return [
        f"{one.step:,}",
        f"{100 * one.density:.1f}",
        str(one.seed),
        f"{one.errors[0]:.2f}, {one.errors[1]:.2f}",
        f"{one.barrier:.2f}",
        f"{one.barrier_train:.2f}",
        f"{one.distance:.2f}",
        "stable" if one.stable else "unstable",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--at", type=int, nargs="+", help="steps to part at")
    parser.add_argument("--steps", type=int, default=4000, help="of ResNet-20")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    put_together, usual = MODELS[options.model]
    hunt, points = put_together(options)
    pairs = dense_and_sparse(hunt, options.at or usual, points)
    with shown() as progress:
        found = measure(pairs, Store(options.store), engine_of(options), progress)
    columns = ["parted at", "% kept", "seed", "errors, %", "barrier, points", "on train", "L2 distance", ""]
    print_table(columns, [row(one) for one in found])
    result = {"settings": asdict(hunt.settings), "rounds": hunt.rounds, "found": [asdict(one) for one in found]}
    print(keep(f"linear-mode-{options.model}", result))


if __name__ == "__main__":
    main()
