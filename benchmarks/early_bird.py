"""Early-Bird tickets of a small network with BatchNorm: channels drawn soon, beside those drawn late or by chance.

    python benchmarks/early_bird.py --store FOLDER [--data mnist] [--density 0.7 0.5] [--seeds 0 1 2] [--epochs 20]

The whole should take about 20 minutes on a core; what the store holds already is not trained again. Writes
results/early-bird.json, prints a table, and leaves studies in the store for `prunus report`.
"""

import argparse
from dataclasses import asdict

from experiment import add_options, engine_of, network, print_rows, settings_of, task_of
from machine import keep
from prunus.progress import shown
from prunus.recipe.early_bird import Plan, compare
from prunus.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser, epochs=20)
    parser.add_argument("--model", default=network())
    parser.add_argument("--density", type=float, nargs="+", default=[0.7, 0.5])
    parser.add_argument("--strength", type=float, default=1e-3, help="of the penalty; the paper has 1e-4 in 160 epochs")
    options = parser.parse_args()
    settings = settings_of(options)
    task, found = task_of(options.model, options.data), []
    for density in options.density:
        plan = Plan(task, settings, density=density, strength=options.strength, seeds=tuple(options.seeds))
        with shown() as progress:
            comparison = compare(plan, Store(options.store), engine_of(options), progress)
        print(f"\n{100 * density:g} % of the channels, settled after epoch {comparison.epochs} of {options.epochs}\n")
        print_rows(comparison.rows)
        found.append({"density": density, **asdict(comparison)})
    about = {"task": asdict(task), "settings": asdict(settings), "strength": options.strength, "seeds": options.seeds}
    keep("early-bird", {**about, "found": found})


if __name__ == "__main__":
    main()
