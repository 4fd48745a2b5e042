"""Pruned networks fine-tuned, and trained from scratch: channels really removed, and weights held at zero.

    python benchmarks/rethinking.py --store FOLDER [--data mnist] [--seeds 0 1 2] [--epochs 10] [--tune-epochs 5]

The whole should take about 20 minutes on a core; what the store holds already is not trained again. Writes
results/rethinking.json, prints a table for each kind of pruning, and leaves studies in the store for `prunus report`.
"""

import argparse
from dataclasses import asdict, replace

from experiment import add_options, engine_of, network, print_rows, settings_of, task_of
from machine import keep
from prunus.progress import shown
from prunus.recipe.lottery_ticket import at_last_rate
from prunus.recipe.rethinking import Plan, rethink
from prunus.store import Store

DENSITIES = {"channels": (0.7, 0.5), "weights": (0.3, 0.05)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser, epochs=10)
    parser.add_argument("--model", default=network())
    parser.add_argument("--tune-epochs", type=int, default=5)
    options = parser.parse_args()
    settings = settings_of(options)
    tuning = replace(at_last_rate(settings), epochs=options.tune_epochs)
    task, found = task_of(options.model, options.data), []
    for units, densities in DENSITIES.items():
        for density in densities:
            plan = Plan(task, settings, tuning, units=units, density=density, strength=1e-3, seeds=tuple(options.seeds))
            with shown() as progress:
                rows = rethink(plan, Store(options.store), engine_of(options), progress)
            print(f"\n{100 * density:g} % of the {units}\n")
            print_rows(rows)
            found.append({"units": units, "density": density, "rows": [asdict(row) for row in rows]})
    about = {"task": asdict(task), "settings": asdict(settings), "fine_tuning": asdict(tuning), "seeds": options.seeds}
    keep("rethinking", {**about, "found": found})


if __name__ == "__main__":
    main()
