"""What the library computes beside oracles that know nothing of how: the largest error over random draws.

    python benchmarks/oracles.py

A line for each quantity: the function that computes it, what it is compared with, the size of the problem, and the
largest error in double and, where that says something, in single precision; then what is tolerated, in double precision
what the tests demand. Errors are in parts of the largest entry of the oracle, but for those said to be absolute, and
counts. Takes ten seconds; exits with 1 where an error is larger than tolerated. Writes results/oracles.json.
"""

import sys

import torch

from experiment import print_table
from machine import keep
from oracle import choices, distributions, least_squares, scores, second_derivatives
from oracle.shared import DOUBLE, DRAWS, SINGLE

PARTS = (second_derivatives, scores, least_squares, distributions, choices)


def main() -> None:
    torch.set_num_threads(1)
    rows, failed = [], []
    for check in (check for part in PARTS for check in part.CHECKS):
        error, single = check.error(DOUBLE), None if check.single is None else check.error(SINGLE)
        pairs = ((error, check.tolerance), (single, check.single))
        if not all(found <= allowed for found, allowed in pairs if allowed is not None):
            failed.append(check.what)
        about = {name: value for name, value in vars(check).items() if name not in ("run", "single")}
        rows.append({**about, "error": error, "tolerance_single": check.single, "error_single": single})
    print_table(
        ["what", "by", "beside", "of", "largest error", "tolerated", "in single precision", "tolerated"],
        [
            [
                row["what"],
                f"`{row['function']}`",
                row["oracle"],
                row["size"],
                *(_text(row[name]) for name in ("error", "tolerance", "error_single", "tolerance_single")),
            ]
            for row in rows
        ],
    )
    keep("oracles", {"draws": DRAWS, "rows": rows})
    sys.exit(f"larger than tolerated: {', '.join(failed)}" if failed else 0)


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:.1e}" if 0 < number < 0.001 else f"{number:.3g}"


if __name__ == "__main__":
    main()
