"""`prunus compare`."""

import time
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prunus.cli.experiments import Place, Training, seeds_of, watched
from prunus.cli.options import DataName, Json, Model, Seed
from prunus.cli.output import check_output, print_json, print_table
from prunus.errors import PrunusError

if TYPE_CHECKING:
    from prunus.recipe.compared import Comparison, Row
    from prunus.recipe.replicates import Measured

CHECKS = ("shuffled", "re-initialised", "inverted")


def compare(
    model: Model,
    *,
    data: DataName,
    methods: Annotated[
        str | None,
        Parameter(
            help="separated by commas: smart-ratio, static, magnitude-at-start, snip, snip-iterated, grasp, synflow, "
            "set, snfs, rigl, gem-miner, gradual, dpf, surgery, movement-pruning, soft-movement, soft-threshold, "
            "variational-dropout, l0, magnitude-fine-tuned, magnitude-in-rounds, magnitude, iterative, or "
            "any score (movement, ..., file.py:function), alone or with -at-start, -fine-tuned or -in-rounds; "
            "default: ten of these"
        ),
    ] = None,
    densities: Annotated[str, Parameter(help="kept / total, separated by commas")] = "0.5,0.2,0.1,0.05",
    replicates: Annotated[int, Parameter(help="seeds, from --seed on; two at least")] = 3,
    scope: Annotated[
        str, Parameter(help="network (global), tensor (uniform), erk, ...: how tensors share a density")
    ] = ("network"),
    keep: Annotated[float, Parameter(help="of iterative: the part that a round keeps at least")] = 0.5,
    rewind: Annotated[int, Parameter(help="the step that tickets return to")] = 0,
    checks: Annotated[bool, Parameter(help="train each method's sanity checks too")] = True,
    timing: Annotated[int, Parameter(help="rounds of timing each network; 0: none")] = 5,
    picture: Annotated[Path | None, Parameter(help="a .png of all curves")] = None,
    training: Training = Training(),
    place: Place = Place(),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train pruning methods on MODEL at equal budget, beside their sanity checks: which of them beats chance?

    Every method has as many training steps as the dense network, its search for a mask included; where it needs more, a
    column says how many. Chance is the random ticket with smart ratios. Everything is kept in the store: asked again,
    nothing is trained again; killed, it goes on where it was.
    """
    from prunus.progress import shown
    from prunus.recipe.comparison import USUAL, Plan
    from prunus.recipe.comparison import compare as compare_methods
    from prunus.recipe.usual import comparison_settings, ticket_task
    from prunus.report.curves import draw_charts
    from prunus.store import Store

    started = time.monotonic()
    if picture:
        check_output(picture, ".png")
    task = ticket_task(model, data, training.start)
    plan = Plan(
        task,
        training.chosen(comparison_settings(task)),
        USUAL if methods is None else tuple(name.strip() for name in methods.split(",") if name.strip()),
        _numbers(densities),
        seeds_of(seed, replicates),
        scope,
        keep,
        rewind,
        checks,
    )
    chosen = place.chosen_engine()
    store = Store(place.store)
    with shown() as progress, watched(store) as work:
        found = compare_methods(plan, store, chosen, progress, rounds=timing)
    if picture:
        draw_charts(picture, found.title, found.charts())
    if json:
        print_json(
            {
                **{"model": model, "data": data, "seed": seed, "density": found.rows[-1].density},
                "seconds": time.monotonic() - started,
                "store": str(place.store),
                "pieces_made": work.pieces,
                "steps_run": work.steps,
                "steps": found.total,
                "dense": {"accuracy": list(found.dense.accuracy), "ids": list(found.dense.runs)},
                "dense_file_bytes": found.dense_bytes,
                "methods": [_as_json(row) for row in found.rows],
            }
        )
        return
    _print(found)
    print(f"{found.note}\n{work}.")
    print(f"Everything is in {place.store}: `prunus report {place.store} -o page.html` draws it.")


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(",") if number.strip())
    except ValueError as error:
        raise PrunusError(f"densities '{text}' are not numbers separated by commas.") from error


def _as_json(row: "Row") -> dict[str, Any]:
    verdict = row.verdict
    return {
        "method": row.method,
        "density": row.kept,
        "accuracy": list(row.accuracy.accuracy),
        "checks": {name: list(one.accuracy) for name, one in row.checks.items()},
        "steps": row.steps,
        "file_bytes": row.file_bytes,
        "multiplications": row.multiplications,
        "times_as_fast": row.speed and row.speed.ratio,
        "empty": list(row.emptied),
        "difference": verdict and verdict.difference.mean,
        "standard_error": verdict and verdict.error,
        "verdict": row.judgement,
        "ids": list(row.accuracy.runs),
    }


def _print(found: "Comparison") -> None:
    checks = ("shuffled", "re-init", "inverted") if found.rows[0].checks else ()
    heads = ["method", "% kept", "% right", *checks, "steps", "bytes", "% of FLOPs"]
    heads += [*(["speed"] if found.timed else []), "against chance"]
    for density, rows in groupby(found.rows, lambda row: row.density):
        print_table(f"{found.title}, {100 * density:.3g} % kept", heads, [_cells(found, row) for row in rows])


def _cells(found: "Comparison", row: "Row") -> list[str]:
    return [
        row.method,
        f"{100 * row.kept:.2f}",
        f"{row.accuracy.mean:.2f} +- {row.accuracy.deviation:.2f}",
        *([_mean(row.checks.get(name)) for name in CHECKS] if found.rows[0].checks else ()),
        f"{row.steps:,.0f}" + (f" ({row.steps / found.total:.3g}x)" if row.steps > found.total else ""),
        f"{row.file_bytes:,.0f}",
        f"{100 * row.multiplications:.2f}",
        *([f"{row.speed.ratio:.2f}"] if row.speed else ()),
        row.judgement,
    ]


def _mean(one: "Measured | None") -> str:
    return f"{one.mean:.2f}" if one else ""
