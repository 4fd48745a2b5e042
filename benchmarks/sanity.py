"""Sanity checks of Frankle et al. 2021 and Su et al. 2020: does it matter which weights a method keeps?

    python benchmarks/sanity.py --store STORE --processes 2 [--seeds 0 1 2] [--scope network]

Eight methods at 3.5 % kept, each as it is, shuffled within layers, re-initialised, and inverted; 8,000 steps a run. For
each seed 1 dense run, 5 rounds of a search of which the last is a method, 7 x 4 + 3 others: 111 runs of about 13 s on
one core, 24 minutes; in the store of zhou.py, whose dense runs and search by magnitude are the same, 93 and 20 minutes.
With --scope network, methods decide how dense each layer is, as in Frankle et al. 2021; else the search does, for all.
Writes results/sanity-MODEL-DATA-SCOPE.json.
"""

from dataclasses import asdict, replace

from experiment import engine_of, print_table
from machine import keep
from papers import cells, described, hunt_of, options, plain
from prunus.progress import shown
from prunus.recipe.sanity import CHECKS, USUAL, Plan, check
from prunus.store import Store


def main() -> None:
    parser = options(__doc__, steps=8_000, rounds=5, keep=0.5)
    parser.add_argument("--methods", nargs="+", default=USUAL)
    parser.add_argument("--scope", default="tensor", choices=("tensor", "network"))
    chosen = parser.parse_args()
    hunt = hunt_of(chosen)
    if chosen.scope != hunt.scope:
        hunt = replace(hunt, scope=chosen.scope, keeps=())
    with shown() as progress:
        found = check(Plan(hunt, tuple(chosen.methods)), Store(chosen.store), engine_of(chosen), progress)
    lost = {name: {check: asdict(found.lost(name, check)) for check in CHECKS[1:]} for name in found.methods}
    result = {
        "hunt": described(hunt),
        "density": found.density,
        **plain({"dense": [found.dense]}),
        "checks": CHECKS,
        "methods": plain(found.methods),
        "lost": lost,
    }
    path = keep(f"sanity-{chosen.model}-{chosen.data}-{chosen.scope}", result)
    print(f"{100 * found.density:.3g} % kept; dense: {found.dense} % right\n")
    print_table(["method", *CHECKS], cells(found.methods))
    print_table(
        ["lost in points ± standard error", *CHECKS[1:]],
        [[name, *(f"{one['mean']:+.2f} ± {one['error']:.2f}" for one in line.values())] for name, line in lost.items()],
    )
    print(path)


if __name__ == "__main__":
    main()
