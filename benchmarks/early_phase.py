"""Frankle, Schwab & Morcos 2020, "The early phase of neural network training": tickets of step k, and perturbed ones.

    python benchmarks/early_phase.py --store STORE --processes 2 [--seeds 0 1 2] [--at 0 100 1000]

Trains 5,000 steps a run and keeps 35 % in each of three rounds. For each seed and step k: 1 dense run, 3 rounds, 5
changes, 4 amounts of noise and a random network; and 2 ways to k: 132 runs of at most 9 s on one core, 19 minutes.
Writes results/early-phase-MODEL-DATA.json.
"""

from experiment import engine_of, print_table
from machine import keep
from papers import cells, described, hunt_of, options, plain
from prunus.progress import shown
from prunus.recipe.early_phase import Plan, measure
from prunus.store import Store


def main() -> None:
    parser = options(__doc__, steps=5_000, rounds=3, keep=0.35)
    parser.add_argument("--at", type=int, nargs="+", default=[0, 100, 1_000], help="steps to rewind to")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0], help="standard deviations")
    chosen = parser.parse_args()
    plan = Plan(hunt_of(chosen), tuple(chosen.at), noise=tuple(chosen.noise))
    with shown() as progress:
        found = measure(plan, Store(chosen.store), engine_of(chosen), progress)
    result = {
        "hunt": described(plan.hunt),
        "steps": found.steps,
        "density": found.density,
        **plain({"dense": [found.dense]}),
        "lines": plain(found.lines),
    }
    path = keep(f"early-phase-{chosen.model}-{chosen.data}", result)
    print(f"{100 * found.density:.3g} % kept; dense: {found.dense} % right\n")
    print_table(["start", *(f"step {step:,}" for step in found.steps)], cells(found.lines))
    print(path)


if __name__ == "__main__":
    main()
