"""Pruning before, while and after training on CIFAR-10, and whether it matters which weights are kept.

    python benchmarks/comparison.py --store STORE [--processes 2] [--rounds 5]

ResNet-20 at 5 % kept by seven methods and by chance, each with its sanity checks, at equal budget; as `prunus compare
resnet-20 --data cifar10 --densities 0.05 --steps 1500 --batch 64 --precision bf16-mixed --rewind 150 --keep 0.36` has
it, in whose store nothing is trained again. 1,500 steps are two epochs, where the papers have 160: what two cores have
time for. Some hundred trainings of 2.5 minutes of a core each.
Then, what Frankle et al. 2021, "Pruning neural networks at initialization: why are we missing the mark?", say: methods
before training lose nothing when their masks are shuffled within layers, magnitude after training does. What a method
loses is measured seed by seed, in standard errors. Writes results/comparison.json.
"""

import argparse
from dataclasses import asdict, replace

from experiment import engine_of, print_table
from machine import keep
from prunus.progress import shown
from prunus.recipe.compared import Comparison, Row
from prunus.recipe.comparison import Plan, compare
from prunus.recipe.replicates import Difference, difference
from prunus.recipe.usual import comparison_settings, ticket_task
from prunus.store import Store

BEFORE, AFTER = ("snip", "grasp", "synflow"), ("magnitude-fine-tuned", "iterative")
METHODS = (*BEFORE, "gradual", "rigl", *AFTER)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="of timing each network")
    options = parser.parse_args()
    plan = planned()
    with shown() as progress:
        found = compare(plan, Store(options.store), engine_of(options), progress, rounds=options.rounds)
    said = statements(found)
    path = keep(
        "comparison",
        {
            "model": plan.task.model,
            "data": plan.task.data,
            "settings": asdict(plan.settings),
            "seeds": plan.seeds,
            "steps": found.total,
            "dense": asdict(found.dense),
            "dense_bytes": found.dense_bytes,
            "rows": [asdict(row) for row in found.rows],
            "lost": {row.method: {name: asdict(one) for name, one in lost(row).items()} for row in found.rows},
            "statements": said,
        },
    )
    print(f"dense: {found.dense} % right, {found.dense_bytes:,.0f} bytes\n")
    columns, rows = table(found)
    print_table(columns, rows)
    print_table(["points lost", *checks(found)], [losses(found, row) for row in found.rows])
    print_table(["published", "measured", "holds"], [[*line.values()] for line in said])
    print(path)


def planned() -> Plan:
    """As the command line has it."""
    task = ticket_task("resnet-20", "cifar10")
    settings = replace(comparison_settings(task), epochs=None, steps=1500, batch=64, precision="bf16-mixed")
    return Plan(task, settings, METHODS, (0.05,), (0, 1, 2), keep=0.36, rewind=150)


def checks(found: Comparison) -> list[str]:
    return list(dict.fromkeys(name for row in found.rows for name in row.checks))


def table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Markdown's columns and rows."""
    columns = ["method", "% right", *checks(found), "steps", "bytes", "% of FLOPs", "times as fast", "against chance"]
    rows = [
        [
            row.method,
            str(row.accuracy),
            *(str(row.checks.get(check, "")) for check in checks(found)),
            f"{row.steps:,.0f}",
            f"{row.file_bytes:,.0f}",
            f"{100 * row.multiplications:.1f}",
            f"{row.speed.ratio:.2f}" if row.speed else "",
            row.judgement,
        ]
        for row in found.rows
    ]
    return columns, rows


def lost(row: Row) -> dict[str, Difference]:
    return {name: difference([row.accuracy], [one]) for name, one in row.checks.items()}


def losses(found: Comparison, row: Row) -> list[str]:
    lines = lost(row)
    return [
        row.method,
        *(f"{lines[name].mean:+.2f} +- {lines[name].error:.2f}" if name in lines else "" for name in checks(found)),
    ]


def statements(found: Comparison) -> list[dict[str, str]]:
    """What is published of each method, what was measured, and whether it holds."""
    rows = {row.method: row for row in found.rows}
    return [
        judged(f"{name}: shuffled within layers, {'nothing' if name in BEFORE else 'something'} is lost", rows[name])
        for name in (*BEFORE, *AFTER)
    ]


def judged(statement: str, row: Row) -> dict[str, str]:
    """Something is lost where chance does that to so few seeds in one of twenty cases at most."""
    assert row.verdict
    shuffled = replace(row.verdict, difference=lost(row)["shuffled"])
    loses = shuffled.word == "better"
    seen, unseen = ("yes", "not told apart") if row.method in AFTER else ("no", "yes")
    return {
        "published": statement,
        "measured": f"{shuffled.difference.mean:+.2f} +- {shuffled.error:.2f} points, {shuffled.errors:.1f} errors",
        "holds": seen if loses else unseen,
    }


if __name__ == "__main__":
    main()
