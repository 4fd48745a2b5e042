"""`prunus demo`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from prunus.cli.compress import as_json, draw, print_compression
from prunus.cli.options import Json, Seed
from prunus.cli.output import print_json


def demo(
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="the folder for the file and the picture")] = Path(
        "demo"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """The whole way, small, on digits that come along: train, prune, share, code, reload."""
    from prunus import models
    from prunus.data import load
    from prunus.progress import shown
    from prunus.recipe import deep_compression
    from prunus.recipe.usual import demo_plan

    model, data = "lenet-300-100", load("digits")
    output.mkdir(parents=True, exist_ok=True)
    file, picture = output / "digits.prunus", output / "digits.png"
    network = models.build(model, data, seed=seed)
    with shown() as progress:
        result = deep_compression(network, data, file, plan=demo_plan(), seed=seed, progress=progress)
    draw(picture, f"{model} on {data.name}", result)
    if json:
        print_json({"model": model, "data": data.name, "seed": seed, "picture": str(picture), **as_json(result)})
        return
    print_compression(f"{model} on {data.name}", file, result)
    print(f"{picture}: the stages, and the weights before and after sharing")
