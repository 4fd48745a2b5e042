"""`prunus bench`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prunus.cli.networks import as_described
from prunus.cli.options import Json, Model, Seed
from prunus.cli.output import percent, print_json, print_table
from prunus.errors import PrunusError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prunus.recipe.bench import Bench, Measured, Speed

FILES = (".safetensors", ".prunus")
ABOUT = {
    "dense": "as it is",
    "masked": "zeros in dense layers, held in training",
    "sparse": "prunus.sparsify: kept values alone where that is faster",
    "codebook": "kept weights share 32 values a tensor; load(..., as_='sparse'), inference only",
    "shrunk": "another mask, of whole units; prunus.shrink takes them out",
}


def bench(
    model: Model,
    *,
    density: Annotated[
        float | None, Parameter(help="kept / total of the weights, in (0, 1]; default: the zeros the weights have")
    ] = None,
    weights: Annotated[
        Path | None,
        Parameter(help=".safetensors, .prunus, or .pt/.pth/.th; MODEL may be such a file that names its own"),
    ] = None,
    data: Annotated[str | None, Parameter(help="a batch of this set; default: random inputs of MODEL's shape")] = None,
    batch: Annotated[int, Parameter(help="inputs in a call")] = 64,
    scope: Annotated[str, Parameter(help="erk, tensor (uniform), network (global), ..., or file.py:function")] = "erk",
    train: Annotated[bool, Parameter(negative="", help="also a training step: forward, backward, SGD")] = False,
    threads: Annotated[int | None, Parameter(help="of torch; default: as many as it takes")] = None,
    rounds: Annotated[int, Parameter(help="in each of which every form is timed, in random order")] = 15,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Time MODEL dense, masked, sparse, packed and shrunk, side by side on this machine: do its zeros pay?

    Ratios are to the dense network within a round, with quartiles over rounds; the dense network's is to itself, timed
    twice, and shows the noise. Outputs of each form are compared with those of the plain network that has its weights.
    """
    from prunus import parts
    from prunus.progress import shown
    from prunus.recipe.bench import bench

    started = time.monotonic()
    where = parts.scope_named(scope)
    network, inputs, labels = _network(model, weights, data, batch, seed)
    with shown() as progress:
        result = bench(
            network,
            inputs,
            labels,
            density=density,
            scope=where,
            train=train,
            threads=threads,
            rounds=rounds,
            seed=seed,
            progress=progress,
        )
    if json:
        about = {"model": model, "data": data, "seed": seed, "batch": batch, "threads": result.threads}
        print_json({**about, "scope": scope, **_as_json(result), "seconds": time.monotonic() - started})
        return
    title = f"{model}, batch {batch}, {result.threads} threads, {rounds} rounds"
    _print(title, result, ("forward", "step") if train else ("forward",))


def _network(
    model: str, weights: Path | None, data: str | None, batch: int, seed: int
) -> "tuple[nn.Module, Tensor, Tensor | None]":
    """The network, a batch of inputs and, where there is data, its labels."""
    import torch

    from prunus import models
    from prunus.checkpoint import read_weights
    from prunus.data import load
    from prunus.loading import fit
    from prunus.loading import load as load_network

    if batch < 1:
        raise PrunusError(f"batch {batch}: expected one input at least.")
    loaded = load(data) if data else None
    if model.endswith(FILES):
        if weights:
            raise PrunusError(f"{model} has weights of its own: leave out --weights, or name the network.")
        network = load_network(model)
    elif weights:
        network = models.build(model, loaded) if loaded else as_described(model, weights)
        fit(network, read_weights(weights))
    else:
        network = models.build(model, loaded, seed=seed)
    if loaded:
        inputs, labels = next(loaded.train.batches(batch, most=1))
        if len(inputs) < batch:
            raise PrunusError(f"batch {batch} is larger than the {len(inputs)} inputs that {data} has to train with.")
        return network, inputs, labels
    description = getattr(network, "description", None)
    if not isinstance(description, models.Description):
        raise PrunusError(f"'{model}' does not say what inputs it takes: name the data with --data.")
    generator = torch.Generator().manual_seed(seed)
    return network, torch.randn(batch, *description.input_shape, generator=generator), None


def _as_json(result: "Bench") -> dict[str, Any]:
    measured = {form.name: form for form in result.forms}
    return {
        "density": measured["masked"].density,
        "dense_bytes": measured["dense"].memory_bytes,
        "forms": [_form(form) for form in result.forms],
        "layers": {
            column: {
                "sparse": list(found.sparse),
                "dense": found.dense,
                "measured": {name: vars(timing) for name, timing in found.timings.items()},
            }
            for column, found in result.chosen.items()
        },
    }


def _form(form: "Measured") -> dict[str, Any]:
    speeds = {name: getattr(form, name) for name in ("forward", "step")}
    return {**vars(form), **{name: speed and vars(speed) for name, speed in speeds.items()}}


def _print(title: str, result: "Bench", columns: tuple[str, ...]) -> None:
    heads = [head for column in columns for head in (f"{column}, ms", "times dense")]
    rows = [
        (
            form.name,
            "" if form.density is None else percent(form.density),
            *(cell for column in columns for cell in _cells(getattr(form, column))),
            _bytes(form.memory_bytes),
            _bytes(form.file_bytes),
            "" if form.difference is None else f"{form.difference:.1g}",
        )
        for form in result.forms
    ]
    print_table(title, ("form", "kept", *heads, "bytes in memory", "bytes on disk", "outputs differ"), rows)
    for form in result.forms:
        print(f"{form.name}: {ABOUT[form.name]}." if not form.reason else f"{form.name}: none, {form.reason}")
    for column, found in result.chosen.items():
        print(f"Layers of the sparse form, {column}:")
        print("\n".join(f"  {line}" for line in str(found).splitlines()))
    for column in columns:
        print(_verdict(column, result))


def _cells(speed: "Speed | None") -> tuple[str, str]:
    if speed is None:
        return "", ""
    low, middle, high = speed.ratio
    return f"{1e3 * speed.seconds[1]:.3g}", f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def _bytes(size: int | None) -> str:
    return "" if size is None else f"{size:,}"


def _verdict(column: str, result: "Bench") -> str:
    faster = [f"{form.name} ({getattr(form, column).ratio[1]:.2f} times)" for form in result.winners(column)]
    if not faster:
        return f"{column}: nothing is faster than dense beyond the noise; here zeros do not pay in time."
    return f"{column}: faster than dense beyond the noise: {', '.join(faster)}."
