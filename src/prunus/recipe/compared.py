"""What a comparison of pruning methods found: its rows, how they read, and what a report shows of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunus.recipe.charts import Chart, Line
from prunus.recipe.costs import FASTER, Speed
from prunus.recipe.replicates import Measured
from prunus.recipe.sanity import CHECKS
from prunus.recipe.verdict import Verdict, limit

COLUMNS = ("method", "% kept", "% right", *CHECKS[1:], "steps", "bytes", "% of FLOPs", "verdict")


@dataclass(frozen=True)
class Row:
    """A method at one density over the replicates; `kept` is kept / total of its masks, `multiplications` a share.

    `checks` are those of the `CHECKS` that it has. Bytes, shares and steps are means; `speed` is that of the first
    replicate. `emptied` are tensors of which some replicate keeps nothing. Chance itself has no verdict.
    """

    method: str
    density: float
    kept: float
    accuracy: Measured
    checks: Mapping[str, Measured]
    steps: float
    file_bytes: float
    multiplications: float
    emptied: tuple[str, ...]
    speed: Speed | None = None
    verdict: Verdict | None = None

    @property
    def judgement(self) -> str:
        """The verdict, and which tensors have nothing left."""
        return "; ".join(
            [str(self.verdict) if self.verdict else "this is chance", *(f"{name} is empty" for name in self.emptied)]
        )


@dataclass(frozen=True)
class Comparison:
    """The dense network, which takes `total` steps, and all rows: densities from high to low, best methods first."""

    title: str
    total: int
    dense: Measured
    dense_bytes: float
    rows: tuple[Row, ...]

    @property
    def timed(self) -> bool:
        """Whether all rows have a speed."""
        return all(row.speed for row in self.rows)

    @property
    def note(self) -> str:
        """How to read it."""
        count = len(self.dense.accuracy)
        return (
            f"Percent right on the test part, which chose nothing, mean and deviation over {count} replicates; dense: "
            f"{self.dense}, {self.dense_bytes:,.0f} bytes. Every method has {self.total:,} training steps, those that "
            "find its mask included, and where it needs more, the column says how many; scores before training take "
            "none. Verdicts: the difference from random tickets with smart ratios, seed by seed, in standard errors; "
            f"up to {limit(count):.1f} is what chance does to {count} replicates in 19 of 20 comparisons. Checks keep "
            "as much of each tensor: elsewhere in it, from weights drawn anew, or what the score wants least; "
            "masks that moved or fell in training are shuffled and re-initialised from its first step. FLOPs are the "
            "multiplications of kept weights, and bytes those of a file without loss."
            + (
                " Speed is measured on one thread, in dense layers or in sparse ones where these win."
                if self.timed
                else ""
            )
        )

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows as a study holds them."""
        timed = [FASTER] if self.timed else []
        return [*COLUMNS[:-1], *timed, COLUMNS[-1]], [_cells(row) for row in self.rows]

    def charts(self) -> list[Chart]:
        """Percent right against what is kept, bytes, multiplications, and measured time where there is any."""
        against: dict[str, Callable[[Row], float]] = {
            "part of the weights kept": lambda row: row.kept,
            "bytes of the file": lambda row: row.file_bytes,
            "multiplications, dense = 1": lambda row: row.multiplications,
        }
        if self.timed:
            against["measured time, dense = 1"] = lambda row: 1 / row.speed.ratio if row.speed else 1.0
        note = "Percent right on the test part; a line for each method, a point for each density."
        return [Chart(f"Against {x}", note, x, "% right", self._lines(of), "linear") for x, of in against.items()]

    def _lines(self, value: Callable[[Row], float]) -> tuple[Line, ...]:
        return tuple(
            _line(name, value, [row for row in self.rows if row.method == name])
            for name in dict.fromkeys(row.method for row in self.rows)
        )


def _line(name: str, value: Callable[[Row], float], rows: Sequence[Row]) -> Line:
    points = {value(row): row.accuracy for row in rows}
    return Line(
        name,
        {x: one.accuracy for x, one in points.items()},
        rows[0].accuracy.runs,
        {x: one.runs for x, one in points.items()},
    )


def _cells(row: Row) -> list[Any]:
    return [
        row.method,
        100 * row.kept,
        _mean(row.accuracy),
        *(_mean(row.checks[check]) if check in row.checks else "" for check in CHECKS[1:]),
        row.steps,
        row.file_bytes,
        100 * row.multiplications,
        *([row.speed.cell()] if row.speed else []),
        row.judgement,
    ]


def _mean(one: Measured) -> dict[str, Any]:
    return {"mean": one.mean, "spread": one.deviation, "runs": list(one.runs)}
