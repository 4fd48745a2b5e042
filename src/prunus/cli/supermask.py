"""`prunus supermask`."""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from prunus.cli.contents import layers_of
from prunus.cli.options import DataName, Json, Model, Out, Seed, with_chosen
from prunus.cli.output import check_output, percent, print_json
from prunus.errors import PrunusError

Method = Literal["edge-popup", "bernoulli", "gem-miner"]


def supermask(
    model: Model,
    *,
    data: DataName,
    method: Annotated[Method, Parameter(help="how the mask is learned")],
    density: Annotated[
        float,
        Parameter(
            help="kept / total, in (0, 1]; of gem-miner the most, of bernoulli the chance that learning begins with"
        ),
    ],
    output: Out,
    start: Annotated[
        Literal["signed-constant", "uniform"], Parameter(help="how the weights are drawn, once and for ever")
    ] = "signed-constant",
    rescale: Annotated[
        bool,
        Parameter(help="larger weights where few are kept: by 1 / sqrt(density), for bernoulli by 1 / density"),
    ] = True,
    scope: Annotated[
        str | None, Parameter(help="of edge-popup: tensor, network, row, erk, ...; default: tensor")
    ] = None,
    every: Annotated[int | None, Parameter(help="of gem-miner: epochs between two freezings; default: 1")] = None,
    strength: Annotated[float | None, Parameter(help="of gem-miner: of the penalty on scores; default: 5e-5")] = None,
    epochs: Annotated[int | None, Parameter(help="default: what suits the method")] = None,
    batch: int | None = None,
    optimizer: Annotated[str | None, Parameter(help="sgd, adam or adamw")] = None,
    learning_rate: float | None = None,
    weight_decay: Annotated[float | None, Parameter(help="of the scores")] = None,
    augment: Annotated[bool | None, Parameter(help="the data's own augmentation")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Learn which of MODEL's weights to keep as they were drawn; the file is a seed and a mask.

    Killed and started again, it goes on where it was.
    """
    from prunus import models
    from prunus.data import load
    from prunus.evaluation import evaluate
    from prunus.laboratory.supermasked import finish, learn
    from prunus.loading import load as load_network
    from prunus.progress import shown
    from prunus.recipe.usual import supermask_settings
    from prunus.supermask import Start

    started = time.monotonic()
    check_output(output, ".prunus", ".safetensors")
    chosen = _method(method, density, rescale, {"scope": scope, "every": every, "strength": strength})
    frozen = Start(start, seed, density if rescale and method == "edge-popup" else 1.0)
    loaded = load(data)
    network = models.build(model, loaded)
    settings = with_chosen(
        supermask_settings(model, method),
        epochs=epochs,
        batch=batch,
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        augment=augment,
    )
    learning = chosen.begin(network, frozen, settings.epochs or 1, max(1, len(loaded.train) // settings.batch))
    unfinished = output.with_name(f".{output.name}.unfinished")
    with shown() as progress:
        learn(
            learning, loaded, settings, seed=seed, checkpoint=unfinished, progress=progress, title=f"{method} {model}"
        )
    found = learning.found()
    finish(learning, found, network, loaded)
    layers = _write(output, network, found)
    unfinished.unlink(missing_ok=True)
    test = loaded.test()
    dense_bytes, file_bytes = 4 * sum(p.numel() for p in network.parameters()), output.stat().st_size
    result = {
        "model": model,
        "data": data,
        "seed": seed,
        "method": method,
        "density": found.mask.density,
        "dense_bytes": dense_bytes,
        "file_bytes": file_bytes,
        "ratio": dense_bytes / file_bytes,
        "error_validation": evaluate(network, loaded.validation).error,
        "error": evaluate(network, test).error,
        "error_reloaded": evaluate(load_network(output, models.build(model, loaded)), test).error,
        "seconds": time.monotonic() - started,
    }
    if json:
        print_json({**result, "layers": layers})
    else:
        print(
            f"{output}: {file_bytes:,} bytes, {result['ratio']:.1f}x smaller than {dense_bytes:,}; "
            f"{percent(found.mask.density)} of the weights kept as drawn from seed {seed}, "
            f"error {result['error']:.2f} % on test ({result['error_reloaded']:.2f} % reloaded), "
            f"{result['seconds']:.1f} s"
        )


def _method(method: Method, density: float, rescale: bool, given: dict[str, Any]) -> Any:
    """The method with those of the options `given` that are its own; the others must not be given."""
    from prunus.laboratory import BestEdges, Chances, Gems
    from prunus.mask import check_density

    own = {"edge-popup": ("scope",), "bernoulli": (), "gem-miner": ("every", "strength")}[method]
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in own:
            raise PrunusError(f"--{name} is not an option of the method {method}.")
    check_density(density)
    if method == "bernoulli":
        return Chances(density, 1.0 if rescale else 0.0)
    if method == "edge-popup":
        return BestEdges(density, **options)
    return Gems(density, rescale=0.5 if rescale else 0.0, **options)


def _write(output: Path, network: Any, found: Any) -> list[dict[str, Any]]:
    """Write the network as its name says; a row a tensor."""
    from prunus.checkpoint import drawn_metadata, write_weights
    from prunus.loading import save
    from prunus.models import describe

    if output.suffix == ".prunus":
        return layers_of(save(network, output, drawn=found.drawn()))
    description = describe(network)
    metadata = {"model": description} if description else {}
    write_weights(output, network.state_dict(), metadata | drawn_metadata(found.drawn()))
    return [
        {"name": name, "shape": list(kept.shape), "density": density}
        for (name, kept), density in zip(found.mask.items(), found.mask.densities().values(), strict=True)
    ]
