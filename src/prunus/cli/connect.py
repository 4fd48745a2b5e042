"""`prunus connect`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prunus.cli.experiments import Place, Training, seeds_of, watched
from prunus.cli.options import DataName, Json, Model, Seed
from prunus.cli.output import print_json, print_table
from prunus.errors import PrunusError

if TYPE_CHECKING:
    from torch import nn

    from prunus.laboratory import MaskFile
    from prunus.recipe.connectivity import Instability


def connect(
    model: Model,
    *,
    data: DataName,
    at: Annotated[int, Parameter(help="the step at which the two trainings part")] = 0,
    mask: Annotated[Path | None, Parameter(help="train under this mask, as `prunus prune --mask` writes it")] = None,
    between: Annotated[
        tuple[Path, Path] | None, Parameter(help="two files of weights; nothing is trained then")
    ] = None,
    replicates: Annotated[int, Parameter(help="pairs, with seeds from --seed on")] = 1,
    points: Annotated[int, Parameter(help="places on the line, both ends included")] = 30,
    training: Training = Training(),
    place: Place = Place(),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train MODEL twice from one moment and walk the line between: is there an error barrier?

    A barrier is the highest error on the line less the mean of its ends', in percentage points; under 2 the network is
    called stable.
    """
    from prunus.progress import shown

    started = time.monotonic()
    if between:
        if mask or at or replicates != 1:
            raise PrunusError("--between takes two networks as they are: leave out --mask, --at and --replicates.")
        with shown() as progress:
            result = _between(model, data, between, points, progress)
        if json:
            print_json({"model": model, "data": data, "seed": seed, **result, "seconds": time.monotonic() - started})
        else:
            print(f"barrier {result['barrier']:.2f} points on test, L2 distance {result['distance']:.3f}")
        return

    from prunus.recipe.connectivity import measure, twins
    from prunus.recipe.usual import ticket_task
    from prunus.store import Store

    task = ticket_task(model, data, training.start)
    settings = training.settings(model)
    network = task.network()
    held = _mask_for(network, mask) if mask else None
    pairs = [twins(task, settings, at, one, mask=held, points=points) for one in seeds_of(seed, replicates)]
    chosen = place.chosen_engine()
    store = Store(place.store)
    with shown() as progress, watched(store) as work:
        found = measure(pairs, store, chosen, progress)
    if json:
        worst = max(found, key=lambda one: one.barrier)
        print_json(
            {
                "model": model,
                "data": data,
                "seed": seed,
                "density": found[0].density,
                "at": at,
                "barrier": worst.barrier,
                "path": _points(worst.path),
                "seconds": time.monotonic() - started,
                "pieces_made": work.pieces,
                "steps_run": work.steps,
                "replicates": [_row(one) for one in found],
            }
        )
        return
    rows = [
        (
            one.seed,
            f"{one.errors[0]:.2f}, {one.errors[1]:.2f}",
            f"{one.barrier:.2f}",
            f"{one.barrier_train:.2f}",
            f"{one.distance:.2f}",
            "stable" if one.stable else "unstable",
        )
        for one in found
    ]
    columns = ("seed", "errors of the twins, %", "barrier, points", "on train", "L2 distance", "")
    print_table(f"{model} on {data}, parted at step {at}, {100 * found[0].density:.1f} % kept", columns, rows)
    print(f"{work}.")


def _mask_for(network: "nn.Module", path: Path) -> "MaskFile":
    """The mask in the file `path`, which fits `network`."""
    from prunus.laboratory import MaskFile
    from prunus.mask import Mask

    Mask.load(path).apply_to(network)
    return MaskFile.at(path)


def _between(model: str, data: str, ends: tuple[Path, Path], points: int, progress: Any) -> dict[str, Any]:
    from prunus import models
    from prunus.checkpoint import read_weights
    from prunus.data import load
    from prunus.laboratory import Connected
    from prunus.ticket import connect

    loaded = load(data)
    path = connect(
        models.build(model, loaded),
        read_weights(ends[0]),
        read_weights(ends[1]),
        {"train": loaded.train.first(Connected.rows), "test": loaded.test()},
        points=points,
        recalibrate=loaded.calibration,
        progress=progress,
    )
    walked = tuple(zip(path.parts, path.errors["train"], path.errors["test"], strict=True))
    return {"barrier": path.barrier("test"), "distance": path.distance, "path": _points(walked)}


def _points(path: tuple[tuple[float, float, float], ...]) -> list[dict[str, float]]:
    return [{"part": part, "error_train": train, "error": test} for part, train, test in path]


def _row(one: "Instability") -> dict[str, Any]:
    return {
        "seed": one.seed,
        "barrier": one.barrier,
        "barrier_train": one.barrier_train,
        "errors": list(one.errors),
        "distance": one.distance,
        "path": _points(one.path),
        "ids": list(one.runs),
    }
