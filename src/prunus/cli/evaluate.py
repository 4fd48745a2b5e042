"""`prunus evaluate`."""

import time
from contextlib import suppress
from typing import Annotated, Literal

from cyclopts import Parameter

from prunus.cli.options import DataName, Json, Model, Weights
from prunus.cli.output import print_json


def evaluate(
    model: Model,
    *,
    weights: Weights,
    data: DataName,
    split: Annotated[Literal["test", "validation"], Parameter(help="which part of the data")] = "test",
    json: Json = False,
) -> None:
    """The error of MODEL with these weights on the test part of DATA."""
    from prunus import models
    from prunus.checkpoint import read_weights
    from prunus.data import load
    from prunus.errors import PrunusError
    from prunus.evaluation import evaluate
    from prunus.loading import fit
    from prunus.mask import Mask
    from prunus.shrinking import shrink_to_fit

    started = time.monotonic()
    loaded = load(data)
    network, tensors = models.build(model, loaded), read_weights(weights)
    with suppress(PrunusError):  # where channels were removed; what fits neither way, `fit` tells
        network = shrink_to_fit(network, tensors)
    fit(network, tensors)
    score = evaluate(network, loaded.test() if split == "test" else loaded.validation)
    result = {
        "model": model,
        "data": data,
        "split": split,
        "density": Mask.of_nonzero(network).density,
        "dense_bytes": 4 * sum(parameter.numel() for parameter in network.parameters()),
        "file_bytes": weights.stat().st_size,
        "error": score.error,
        "loss": score.loss,
        "seconds": time.monotonic() - started,
    }
    if json:
        print_json(result)
    else:
        print(f"error {score.error:.2f} % on {split}, loss {score.loss:.4f}, density {result['density']:.4g}")
