"""`prunus ticket`."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prunus.cli.experiments import Place, Training, seeds_of, watched
from prunus.cli.options import DataName, Json, Model, Seed
from prunus.cli.output import print_json, print_table

if TYPE_CHECKING:
    from prunus.recipe.lottery_ticket import Found


def ticket(
    model: Model,
    *,
    data: DataName,
    rounds: Annotated[int, Parameter(help="of pruning and training again")],
    keep: Annotated[float, Parameter(help="part of what a layer has that it keeps in a round")] = 0.8,
    rewind: Annotated[int, Parameter(help="the step that tickets return to")] = 0,
    rewinding: Annotated[
        Literal["weights", "learning-rate", "none"],
        Parameter(help="what returns: weights and schedule, the schedule alone, or nothing (fine-tuning)"),
    ] = "weights",
    replicates: Annotated[int, Parameter(help="searches, with seeds from --seed on")] = 1,
    controls: Annotated[
        str,
        Parameter(
            help="separated by commas: reinit, shuffle, random, random-ratios, smart-ratio, inverted, one-shot, "
            "corrupt-labels, corrupt-pixels"
        ),
    ] = "",
    controls_at: Annotated[
        str, Parameter(help="rounds that have controls, separated by commas; default: every round")
    ] = "",
    score: Annotated[str, Parameter(help="magnitude, movement, ..., or file.py:function")] = "magnitude",
    scope: Annotated[str | None, Parameter(help="tensor, network, ...; default: the paper's for this model")] = None,
    training: Training = Training(),
    place: Place = Place(),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Find lottery tickets in MODEL by iterative pruning, beside their controls.

    Everything is kept in the store: asked again, nothing is trained again; killed, it goes on where it was.
    """
    from prunus.laboratory.task import code_of
    from prunus.progress import shown
    from prunus.recipe.lottery_ticket import hunt_tickets
    from prunus.recipe.usual import ticket_task, usual_hunt
    from prunus.store import Store

    started = time.monotonic()
    task = ticket_task(model, data, training.start)
    settings = training.settings(model)
    hunt = usual_hunt(task, settings, rounds=rounds, keep=keep)
    if scope:
        hunt = replace(hunt, scope=scope, keeps=hunt.keeps if scope == "tensor" else ())
    hunt = replace(
        hunt,
        step=rewind,
        rewind=rewinding,
        score=score,
        score_code=code_of("score", score) if ":" in score else None,
        seeds=seeds_of(seed, replicates),
        controls=tuple(name.strip() for name in controls.split(",") if name.strip()),
        controls_at=_numbers("controls-at", controls_at) if controls_at else None,
    )
    chosen = place.chosen_engine()
    store = Store(place.store)
    with shown() as progress, watched(store) as work:
        found = hunt_tickets(hunt, store, chosen, progress)
    if json:
        print_json(
            {
                "model": model,
                "data": data,
                "seed": seed,
                "density": found[-1].density,
                "seconds": time.monotonic() - started,
                "store": str(place.store),
                "pieces_made": work.pieces,
                "steps_run": work.steps,
                "rounds": [_row(entry) for entry in found],
            }
        )
        return
    rows = [
        (
            entry.round,
            f"{100 * entry.density:.2f} %",
            _mean(entry.accuracy),
            f"{entry.mean_early_stop_step:,.0f}",
            *(_mean(entry.controls[name]) if name in entry.controls else "" for name in hunt.controls),
        )
        for entry in found
    ]
    title = f"{model} on {data}: % right on test, mean and deviation over {replicates}"
    print_table(title, ("round", "kept", "ticket", "least loss at step", *hunt.controls), rows)
    print(f"{work}.")
    print(
        f"Everything is in {place.store}: `prunus lineage {place.store}`, `prunus report {place.store} -o page.html`."
    )


def _numbers(option: str, text: str) -> tuple[int, ...]:
    from prunus.errors import PrunusError

    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise PrunusError(f"{option} '{text}' is not whole numbers separated by commas.") from error


def _row(entry: "Found") -> dict[str, Any]:
    return {
        "round": entry.round,
        "density": entry.density,
        "accuracy": list(entry.accuracy),
        "controls": {name: list(values) for name, values in entry.controls.items()},
        "early_stop_step": entry.mean_early_stop_step,
        "early_stop_steps": list(entry.early_stop_step),
        "early_stop_accuracy": list(entry.early_stop_accuracy),
        "id": entry.runs[0],
        "ids": list(entry.runs),
    }


def _mean(values: tuple[float, ...]) -> str:
    from statistics import mean, stdev

    return f"{mean(values):.2f}" + (f" +- {stdev(values):.2f}" if len(values) > 1 else "")
