"""`prunus demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from prunus.cli.approximate import as_json as construction_as_json
from prunus.cli.approximate import print_construction, write
from prunus.cli.compress import as_json, draw, print_compression
from prunus.cli.options import Json, Seed
from prunus.cli.output import print_json

if TYPE_CHECKING:
    from prunus.construction import Construction
    from prunus.data import Data

ITEMS, EPSILON = 21, 0.01


def demo(
    *,
    output: Annotated[
        Path, Parameter(name=["--output", "-o"], help="the folder for files, pictures and a page")
    ] = Path("demo"),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """The whole way, small, on digits that come along: train, prune, share, code, reload; and prune what is random."""
    from prunus import models
    from prunus.checkpoint import write_weights
    from prunus.data import load
    from prunus.progress import shown
    from prunus.recipe import deep_compression
    from prunus.recipe.random_network import measure
    from prunus.recipe.usual import demo_plan
    from prunus.report.curves import draw_charts
    from prunus.report.page import write_page
    from prunus.store import Store
    from prunus.training import train

    model, data, plan = "lenet-300-100", load("digits"), demo_plan()
    title = f"{model} on {data.name}"
    output.mkdir(parents=True, exist_ok=True)
    store = Store(output / "store")
    trained, file, random = (output / name for name in ("trained.safetensors", "digits.prunus", "random.prunus"))
    picture, curves, page = (output / name for name in ("digits.png", "random-network.png", "report.html"))
    network = models.build(model, data, seed=seed)
    with shown() as progress:
        train(network, data, plan.dense, seed=seed, progress=progress, title=f"train {model}")
        write_weights(trained, network.state_dict(), {"model": models.describe(network) or ""})
        result = deep_compression(network, data, file, plan=plan, seed=seed, trained=True, progress=progress)
        found, errors = _found(trained, random, data, seed)
        charts = measure(trained, title, store, progress=progress)
    draw(picture, title, result)
    draw_charts(curves, f"A random network contains {title}", charts)
    write_page(store, page)
    if json:
        files = {"file_bytes": random.stat().st_size, "picture": str(curves), "page": str(page)}
        about = {"model": model, "data": data.name, "seed": seed, "picture": str(picture)}
        print_json({**about, **as_json(result), "random_network": {**construction_as_json(found), **errors, **files}})
        return
    print_compression(title, file, result)
    print(f"{picture}: the stages, and the weights before and after sharing\n")
    print_construction(f"{random}: a random network, pruned", found, random.stat().st_size, errors)
    print(f"{curves}: what random weights can stand for, beside what is proven; {page}: the same with all numbers")


def _found(target: Path, output: Path, data: "Data", seed: int) -> "tuple[Construction, dict[str, float]]":
    """The network in the file `target` inside a random one, and the test errors of both as their files have them."""
    import prunus
    from prunus.construction import approximate, smallest_subset
    from prunus.evaluation import evaluate

    network = prunus.load(target)
    found = approximate(network, ITEMS, EPSILON, seed=seed, choose=smallest_subset, input_shape=data.input_shape)
    write(found, output)
    test = data.test()
    errors = {"error_dense": evaluate(network, test).error, "error": evaluate(prunus.load(output), test).error}
    return found, errors
