"""The lottery ticket hypothesis on LeNet-300-100 and MNIST, in the paper's settings, beside what the paper says.

    prunus ticket lenet-300-100 --data mnist --rounds 20 --replicates 3 --controls reinit,random \\
        --controls-at 3,7,9,12,15,20 --store STORE
    python benchmarks/lottery_ticket.py --store STORE [--processes 2]

Adam 1.2e-3, batch 60, 50,000 steps, 20 % of each layer a round, 10 % of the last, down to 1.2 %: 99 runs of 66 s on one
core. Trains what the store does not hold, judges the statements, and leaves them in the store for `prunus report`.
Writes results/lottery-ticket.json.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from experiment import engine_of, print_table
from machine import keep
from prunus.progress import shown
from prunus.recipe.lottery_ticket import Found, hunt_tickets
from prunus.recipe.replicates import keep_cells
from prunus.recipe.usual import ticket_settings, ticket_task, usual_hunt
from prunus.store import Store

MODEL = "lenet-300-100"
ROUND = {51.3: 3, 21.1: 7, 13.5: 9, 7.0: 12, 3.6: 15, 1.2: 20}  # by percent kept, the paper's labels


@dataclass(frozen=True)
class Statement:
    """What is published, the difference that it is about (in each replicate), and where that has to lie."""

    text: str
    differences: tuple[float, ...]
    unit: str
    holds: bool

    @property
    def measured(self) -> str:
        error = stdev(self.differences) / sqrt(len(self.differences))
        return f"{fmean(self.differences):+.2f} ± {error:.2f} {self.unit}"


def statements(found: Sequence[Found]) -> list[Statement]:
    """Differences are means over the replicates with their standard errors; the mean alone decides."""
    dense = found[0]

    def points(text: str, first: Sequence[float], second: Sequence[float], test: Callable[[float], bool]) -> Statement:
        differences = tuple(a - b for a, b in zip(first, second, strict=True))
        return Statement(text, differences, "points", test(fmean(differences)))

    def ticket(kept: float) -> Sequence[float]:
        return found[ROUND[kept]].accuracy

    sooner = tuple(
        100 * (own / whole - 1)
        for own, whole in zip(found[ROUND[21.1]].early_stop_step, dense.early_stop_step, strict=True)
    )
    return [
        *(
            points(f"ticket at {kept} % at least as right as dense", ticket(kept), dense.accuracy, lambda x: x >= 0)
            for kept in (21.1, 13.5)
        ),
        points("ticket at 3.6 % within 0.2 points of dense", ticket(3.6), dense.accuracy, lambda x: x >= -0.2),
        *(
            points(f"{name} at 21.1 % below the ticket", found[7].controls[name], ticket(21.1), lambda x: x < 0)
            for name in ("reinit", "random")
        ),
        *(
            points(
                f"{name} at 3.6 % far below the ticket (a point)",
                found[15].controls[name],
                ticket(3.6),
                lambda x: x <= -1,
            )
            for name in ("reinit", "random")
        ),
        Statement(
            "least validation loss of the ticket at 21.1 % sooner than of dense (published: 38 %)",
            sooner,
            "% of the steps",
            fmean(sooner) < 0,
        ),
    ]


def cell(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f} ± {stdev(values):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    hunt = usual_hunt(ticket_task(MODEL, "mnist"), ticket_settings(MODEL), rounds=20, keep=0.8)
    hunt = replace(hunt, seeds=(0, 1, 2), controls=("reinit", "random"), controls_at=tuple(ROUND.values()))
    store = Store(options.store)
    with shown() as progress:
        found = hunt_tickets(hunt, store, engine_of(options), progress)
    print_table(
        ["% kept", "ticket, % right", "least validation loss at step", "right there", *hunt.controls],
        [
            [
                f"{100 * one.density:.1f}",
                cell(one.accuracy),
                f"{fmean(one.early_stop_step):,.0f} ± {stdev(one.early_stop_step):,.0f}",
                cell(one.early_stop_accuracy),
                *(cell(one.controls[name]) if name in one.controls else "" for name in hunt.controls),
            ]
            for one in found
        ],
    )
    judged = statements(found)
    rows = [[one.text, one.measured, "holds" if one.holds else "does not"] for one in judged]
    columns = ["published", "measured, three seeds", ""]
    print_table(columns, rows)
    keep_cells(
        store, "The lottery ticket hypothesis, statement by statement", columns, rows, "Mean ± standard error, paired."
    )
    print(keep("lottery-ticket", {"rounds": [asdict(one) for one in found], "statements": [asdict(s) for s in judged]}))


if __name__ == "__main__":
    main()
