"""`prunus approximate`."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prunus.cli.options import DataName, Json, Model, Out, Seed
from prunus.cli.output import check_output, percent, print_json, print_table

if TYPE_CHECKING:
    from torch import nn

    from prunus.construction import Construction
    from prunus.store import Store


def approximate(
    target: Annotated[Path, Parameter(help="weights of the network to be found, .safetensors, .prunus or .pt")],
    /,
    *,
    items: Annotated[int, Parameter(help="random weights for each of the target; hidden units for each input of it")],
    epsilon: Annotated[float, Parameter(help="how near a weight has to be met")],
    output: Out,
    construction: Annotated[
        Literal["subset-sum", "epsilon-net", "diamond", "golden"],
        Parameter(help="sums of random weights, one weight alone, sums of ReLU paths, or golden series"),
    ] = "subset-sum",
    minimise: Annotated[
        Literal["error", "kept"], Parameter(help="of subset sums: the nearest, or the fewest weights within epsilon")
    ] = "error",
    model: Annotated[Model | None, Parameter(help="the target, unless its file or its shapes say what it is")] = None,
    data: Annotated[DataName | None, Parameter(name="--data")] = None,
    store: Annotated[
        Path | None,
        Parameter(help="also measure what random weights can stand for, and TARGET's keep, for `prunus report STORE`"),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Prune a random network, never trained, until it computes what TARGET does; the file runs by itself."""
    import prunus
    from prunus.construction import (
        approximate,
        diamond,
        golden_series,
        linear,
        nearest_subset,
        nearest_weight,
        smallest_subset,
    )
    from prunus.data import load
    from prunus.evaluation import evaluate
    from prunus.loading import described
    from prunus.store import Store

    started = time.monotonic()
    check_output(output, output.suffix if output.suffix == ".prunus" else ".safetensors")
    kept = Store(store) if store else None
    loaded = load(data) if data else None
    network, shape = _target(target, model, loaded)
    sums = nearest_subset if minimise == "error" else smallest_subset
    found = approximate(
        network,
        items,
        epsilon,
        seed=seed,
        structure=diamond if construction == "diamond" else linear,
        choose={"epsilon-net": nearest_weight, "golden": golden_series}.get(construction, sums),
        input_shape=shape,
    )
    numbers = as_json(found)  # before anything is written: the bound may have to be refused
    write(found, output)
    errors = {}
    if loaded:
        test = loaded.test()
        errors = {"error_dense": evaluate(network, test).error, "error": evaluate(prunus.load(output), test).error}
    dense_bytes, file_bytes = 4 * found.target_weights, output.stat().st_size
    result = {
        "model": model or described(target),
        "data": data,
        "seed": seed,
        "construction": construction,
        "items": items,
        "epsilon": epsilon,
        **numbers,
        **errors,
        "dense_bytes": dense_bytes,
        "file_bytes": file_bytes,
        "ratio": dense_bytes / file_bytes,
        "seconds": time.monotonic() - started,
    }
    if kept:
        _measure(target, kept)
    if json:
        print_json(result)
        return
    print_construction(f"{output}: {construction}, {items} items, seed {seed}", found, file_bytes, errors)
    if store:
        print(f"{store}: what random weights can stand for; prunus report {store} -o page.html draws it")


def _target(path: Path, model: str | None, loaded: Any) -> "tuple[nn.Module, tuple[int, ...] | None]":
    """The network to be found, and the shape of its inputs where that is known."""
    from prunus import models
    from prunus.checkpoint import read_weights
    from prunus.construction import fully_connected
    from prunus.loading import described, fit

    tensors, text = read_weights(path), described(path)
    if model:
        network = models.build(model, loaded)
    elif text:
        network = models.from_description(text)
    else:
        network = fully_connected(tensors)
    if model or text:
        fit(network, tensors)
    known = getattr(network, "description", None)
    return network.eval(), loaded.input_shape if loaded else getattr(known, "input_shape", None)


def _measure(target: Path, store: "Store") -> None:
    from prunus.progress import shown
    from prunus.recipe.random_network import measure

    with shown() as progress:
        measure(target, target.name, store, progress=progress)


def as_json(found: "Construction") -> dict[str, Any]:
    """What was found, under the keys of the verb."""
    return {
        "density": found.mask.density,
        "target_weights": found.target_weights,
        "random_weights": found.random_weights,
        "kept_weights": found.kept_weights,
        "max_error": found.max_error,
        "within_epsilon": found.within_epsilon,
        "bound": found.bound,
        "solve_seconds": found.solve_seconds,
        "layers": [
            {"name": name, "shape": list(kept.shape), "density": found.mask.densities()[name]}
            for name, kept in found.mask.items()
        ],
    }


def write(found: "Construction", output: Path) -> None:
    """The pruned random network as a file that loads and runs."""
    from prunus import models, pack
    from prunus.checkpoint import drawn_metadata, write_weights

    weights, model, drawn = found.pruned().state_dict(), models.describe(found.network), found.drawn()
    if output.suffix == ".prunus":
        pack.write(output, weights, effort="fast", drawn=drawn, model=model, metadata=found.metadata)
    else:
        write_weights(output, weights, {"model": model or "", **found.metadata, **drawn_metadata(drawn)})


def print_construction(title: str, found: "Construction", file_bytes: int, errors: Mapping[str, float]) -> None:
    """The counts of weights and bytes, the test errors where they were measured, and how near the two networks are."""
    networks = {
        "target": (found.target_weights, 4 * found.target_weights, errors.get("error_dense")),
        "random network": (found.random_weights, None, None),
        "pruned": (found.kept_weights, file_bytes, errors.get("error")),
    }
    rows = [
        (
            name,
            f"{count:,}",
            f"{count / found.target_weights:.2f}",
            "" if size is None else f"{size:,}",
            "" if error is None else f"{error:.2f} %",
        )
        for name, (count, size, error) in networks.items()
    ]
    columns = ("network", "weights", "for each of the target", "bytes", "test error")
    width = len(columns) if errors else 4
    print_table(title, columns[:width], [row[:width] for row in rows])
    print(
        f"{percent(found.within_epsilon, 4)} of the target's weights met within {found.epsilon:g}, "
        f"the worst {found.max_error:.3g} off; {found.solve_seconds:.2f} s to choose what stays"
    )
    print(f"on inputs of Euclidean norm 1 or less the outputs differ by {found.bound:.3g} at most (certified)")
