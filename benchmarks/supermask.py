r"""Networks inside random ones: Zhou et al. 2019, Ramanujan et al. 2020 and Sreenivasan et al. 2022, on small networks.

    python benchmarks/supermask.py --store STORE --processes 2 [--seeds 0 1 2]
    python benchmarks/supermask.py --store STORE --model conv-2 --data cifar10 --only edges --epochs 4 \
        --densities 0.5 0.1 --precision bf16-mixed

LeNet-300-100 on MNIST: masks by a heuristic and learned masks, as they are, over signed constants, and rescaled;
edge-popup at five densities; Gem-Miner at three, whose survivors are then trained beside shuffled, re-initialised and
inverted ones. 40 epochs of learned masks instead of 2,000, 10 of edge-popup instead of 100, 15 of Gem-Miner instead of
150. On one core 12 learned masks take 35 s each, 15 of edge-popup 20 s, 9 gems 25 s, 39 trainings 6 s: 20 minutes. An
epoch of Conv-2 on CIFAR-10 takes 2 minutes on one core, 1 in bfloat16 where the machine has it. Writes
results/supermask-MODEL-DATA.json.
Published, on MNIST: heuristics 79.3 and with signed constants 86.3 %, learned masks 95.3, with signed constants 96.4,
rescaled 97.8, both 98.0.
"""

import argparse
from dataclasses import replace

from experiment import add_options, engine_of, print_rows
from machine import keep
from prunus.laboratory import Task
from prunus.progress import shown
from prunus.recipe.supermask import Plan, study
from prunus.recipe.usual import supermask_settings
from prunus.settings import Settings
from prunus.store import Store, specification

KINDS = ("heuristics", "chances", "edges", "gems")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lenet-300-100")
    add_options(parser, epochs=10)
    parser.add_argument("--only", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--densities", type=float, nargs="+", default=[0.5, 0.3, 0.1, 0.05, 0.02], help="of edge-popup")
    parser.add_argument("--gem-densities", type=float, nargs="+", default=[0.05, 0.02, 0.01])
    parser.add_argument("--precision", default="32-true", help="of learning masks")
    parser.add_argument("--scope", default="tensor", choices=("tensor", "network"), help="of edge-popup")
    chosen = parser.parse_args()
    plan = plan_of(chosen)
    with shown() as progress:
        found = study(plan, Store(chosen.store), engine_of(chosen), progress)
    result = {
        "plan": {name: value for name, value in specification(plan).items() if name not in ("kind", "versions")},
        "masks": [vars(row) for row in found.masks],
        "trained": [vars(row) for row in found.trained],
    }
    path = keep(f"supermask-{chosen.model}-{chosen.data}", result)
    for rows in (found.masks, found.trained):
        if rows:
            print_rows(rows)
    print(path)


def plan_of(chosen: argparse.Namespace) -> Plan:
    """Epochs in the proportions above: those of edge-popup are what is asked for."""

    def settings(kind: str, method: str, times: float) -> Settings | None:
        epochs = max(1, round(times * chosen.epochs))
        usual = supermask_settings(chosen.model, method)
        return replace(usual, epochs=epochs, precision=chosen.precision) if kind in chosen.only else None

    return Plan(
        Task.of(chosen.model, chosen.data),
        dense=Settings(epochs=chosen.epochs, learning_rate=2e-3, decay="cosine"),
        chances=settings("chances", "bernoulli", 4),
        edges=settings("edges", "edge-popup", 1),
        gems=settings("gems", "gem-miner", 1.5),
        heuristics=(0.9, 0.7, 0.5, 0.3, 0.1) if "heuristics" in chosen.only else (),
        edge_densities=tuple(chosen.densities),
        gem_densities=tuple(chosen.gem_densities),
        scope=chosen.scope,
        seeds=tuple(chosen.seeds),
    )


if __name__ == "__main__":
    main()
