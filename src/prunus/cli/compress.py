"""`prunus compress`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prunus.cli.contents import layers_of, print_contents
from prunus.cli.options import DataName, Json, Model, Out, Seed, with_chosen
from prunus.cli.output import check_output, print_json, print_table

if TYPE_CHECKING:
    from prunus.recipe import Compression


def compress(
    model: Model,
    *,
    data: DataName,
    output: Out,
    weights: Annotated[Path | None, Parameter(help="trained weights; without them MODEL is trained first")] = None,
    teacher: Annotated[
        Path | None,
        Parameter(
            help="learn from the built-in network in this file, as `prunus train` writes it; default: the dense one"
        ),
    ] = None,
    recipe: Annotated[
        Literal["deep-compression", "smallest"],
        Parameter(help="deep-compression codes as published (Huffman); smallest with every codec there is"),
    ] = "deep-compression",
    max_error: Annotated[
        float | None,
        Parameter(help="prune on in rounds while the validation error, in percent, stays within this"),
    ] = None,
    density: Annotated[float | None, Parameter(help="kept / total of the weights, in (0, 1]")] = None,
    quality: Annotated[float | None, Parameter(help="prune |w| < quality x std of its tensor instead")] = None,
    bits: Annotated[int | None, Parameter(help="bits of a shared weight: 2^bits values a tensor")] = None,
    start: Annotated[
        Literal["linear", "density", "random"],
        Parameter(help="where k-means begins; linear is the paper's best"),
    ] = "linear",
    sparse_below: Annotated[
        float | None,
        Parameter(help="density from which on kernels train kept weights alone while pruning; default: 0"),
    ] = None,
    budget: Annotated[float, Parameter(help="share of the usual training epochs, 0.25 for a quarter")] = 1.0,
    stages: Annotated[Path | None, Parameter(help="keep every stage's files in this folder")] = None,
    picture: Annotated[Path | None, Parameter(help="draw stages and weights as a PNG file")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train, prune, share, code: MODEL becomes a small file that loads and runs.

    Ends by reading the file back, comparing it bit for bit and evaluating it. Killed and started
    again, it goes on where it was and ends with the same bytes.
    """
    from prunus import models
    from prunus.checkpoint import read_weights
    from prunus.data import load
    from prunus.loading import fit
    from prunus.loading import load as load_network
    from prunus.progress import shown
    from prunus.recipe import deep_compression
    from prunus.recipe.usual import usual_plan

    check_output(output, ".prunus")
    loaded = load(data)
    network = models.build(model, loaded, seed=seed)
    usual = usual_plan(model).scaled(budget)
    plan = with_chosen(usual, density=density, quality=quality, bits=bits, max_error=max_error)
    plan = replace(plan, retrain=with_chosen(plan.retrain, sparse_below=sparse_below))
    plan = replace(plan, start=_start(start, seed), coding="huffman" if recipe == "deep-compression" else "smallest")
    if weights:
        fit(network, read_weights(weights))
    with shown() as progress:
        result = deep_compression(
            network,
            loaded,
            output,
            plan=plan,
            seed=seed,
            trained=weights is not None,
            teacher=load_network(teacher) if teacher else None,
            folder=stages,
            progress=progress,
        )
    if picture:
        draw(picture, f"{model} on {data}", result)
    if json:
        print_json({"model": model, "data": data, "seed": seed, "recipe": recipe, **as_json(result)})
    else:
        print_compression(f"{model} on {data}", output, result)


def as_json(result: "Compression") -> dict[str, Any]:
    """The result under the keys that every verb uses."""
    whole = ("pruned", "quantised", "contents", "stages")
    return {
        **{name: value for name, value in vars(result).items() if name not in whole},
        "stages": [vars(stage) for stage in result.stages],
        "layers": layers_of(result.contents),
    }


def print_compression(title: str, file: Path, result: "Compression") -> None:
    """The stages, the tensors, and what it came to."""
    rows = [(s.name, f"{s.file_bytes:,}", f"{s.ratio:.1f}x", f"{s.error:.2f} %") for s in result.stages]
    print_table(title, ("stage", "bytes on disk", "ratio", "test error"), rows)
    print_contents(str(file), result.contents)
    print(
        f"{file}: {result.file_bytes:,} bytes, {result.ratio:.1f}x smaller than {result.dense_bytes:,}; "
        f"error {result.error_reloaded:.2f} % reloaded, {result.error_dense:.2f} % dense; "
        f"{result.seconds:.0f} s"
    )


def draw(path: Path, title: str, result: "Compression") -> None:
    """The picture of the stages and of the weights before and after sharing."""
    from prunus.report.picture import draw_compression

    draw_compression(
        path,
        title,
        [(stage.name, stage.file_bytes, stage.error) for stage in result.stages],
        {name: tensor for name, tensor in result.pruned.items() if tensor.ndim >= 2},
        result.quantised,
    )


def _start(name: str, seed: int) -> Any:
    import torch

    from prunus import quantise

    if name == "random":
        return quantise.at_random(torch.Generator().manual_seed(seed))
    return getattr(quantise, name)
