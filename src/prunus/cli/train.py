"""`prunus train`."""

import time
from typing import Annotated

from cyclopts import Parameter

from prunus.cli.options import DataName, Json, Model, Out, Seed, with_chosen
from prunus.cli.output import check_output, print_json


def train(
    model: Model,
    *,
    data: DataName,
    output: Out,
    epochs: Annotated[int | None, Parameter(help="default: what suits the model")] = None,
    batch: int | None = None,
    optimizer: Annotated[str | None, Parameter(help="sgd, adam or adamw")] = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    augment: Annotated[bool | None, Parameter(help="the data's own augmentation")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train MODEL on DATA and write its weights; killed and started again, it goes on where it was."""
    from prunus import models
    from prunus.checkpoint import write_weights
    from prunus.data import load
    from prunus.evaluation import evaluate
    from prunus.progress import shown
    from prunus.recipe.usual import usual_settings
    from prunus.training import train

    started = time.monotonic()
    check_output(output, ".safetensors")
    loaded = load(data)
    network = models.build(model, loaded, seed=seed)
    settings = with_chosen(
        usual_settings(model),
        epochs=epochs,
        batch=batch,
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        augment=augment,
    )
    unfinished = output.with_name(f".{output.name}.unfinished")
    with shown() as progress:
        train(
            network,
            loaded,
            settings,
            seed=seed,
            checkpoint=unfinished,
            progress=progress,
            title=f"train {model}",
        )
    description = models.describe(network)
    write_weights(output, network.state_dict(), metadata={"model": description} if description else {})
    unfinished.unlink(missing_ok=True)
    validation = evaluate(network, loaded.validation).error
    error = evaluate(network, loaded.test()).error
    file_bytes, seconds = output.stat().st_size, time.monotonic() - started
    if json:
        print_json(
            {
                "model": model,
                "data": data,
                "seed": seed,
                "error_validation": validation,
                "error": error,
                "file_bytes": file_bytes,
                "seconds": seconds,
            }
        )
    else:
        print(
            f"{output}: {file_bytes:,} bytes, error {error:.2f} % on test (validation {validation:.2f} %), "
            f"{seconds:.1f} s"
        )
