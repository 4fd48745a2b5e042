"""Zhou et al. 2019, "Deconstructing lottery tickets": scores, mask-1 and mask-0 actions of LeNet-300-100 on MNIST.

    python benchmarks/zhou.py --store STORE --processes 2 [--seeds 0 1 2]

Trains 8,000 steps a run instead of the paper's 50,000, and halves the network in each of five rounds instead of taking
a fifth in each of 24; actions meet the masks of rounds 3 and 5. For each seed 1 dense run, 9 scores x 5 rounds and
(13 + 5) actions x 2 rounds: 246 runs of about 13 s on one core, 53 minutes. Writes results/zhou-MODEL-DATA.json.
"""

from dataclasses import asdict

from experiment import engine_of, print_table
from machine import keep
from papers import cells, described, hunt_of, options, plain
from prunus.progress import shown
from prunus.recipe.deconstruction import CRITERIA, Plan, deconstruct
from prunus.store import Store


def main() -> None:
    parser = options(__doc__, steps=8_000, rounds=5, keep=0.5)
    parser.add_argument("--scores", nargs="+", default=CRITERIA)
    parser.add_argument("--actions-at", type=int, nargs="+", default=[3, 5], help="rounds")
    chosen = parser.parse_args()
    plan = Plan(hunt_of(chosen), criteria=tuple(chosen.scores), actions_at=tuple(chosen.actions_at))
    with shown() as progress:
        found = deconstruct(plan, Store(chosen.store), engine_of(chosen), progress)
    verdicts = [
        {"statement": str(one.statement), **asdict(one.measured), "holds": one.holds} for one in found.verdicts()
    ]
    result = {
        "hunt": described(plan.hunt),
        "densities": found.densities,
        "rounds_of_actions": found.rounds_of_actions,
        **plain({"dense": [found.dense]}),
        "scores": plain(found.criteria),
        "kept": plain(found.kept),
        "pruned": plain(found.pruned),
        "statements": verdicts,
    }
    path = keep(f"zhou-{chosen.model}-{chosen.data}", result)
    rounds = [f"{100 * density:.3g} % kept" for density in found.densities]
    actions = [rounds[number - 1] for number in found.rounds_of_actions]
    print(f"dense: {found.dense} % right on test\n")
    print_table(["score", *rounds], cells(found.criteria))
    print_table(["mask-1 action", *actions], cells(found.kept))
    print_table(["mask-0 action", *actions], cells(found.pruned))
    print_table(
        ["published", "difference ± standard error", "holds"],
        [
            [one["statement"], f"{one['mean']:+.2f} ± {one['error']:.2f}", "yes" if one["holds"] else "no"]
            for one in verdicts
        ],
    )
    print(path)


if __name__ == "__main__":
    main()
