"""`prunus train`."""

import time
from contextlib import nullcontext
from typing import Annotated, Any

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
    density: Annotated[float | None, Parameter(help="train sparse from the start, with so much of the weights")] = None,
    rewiring: Annotated[
        str, Parameter(help="how a sparse network changes its connections: static, set, snfs or rigl")
    ] = "rigl",
    scope: Annotated[str, Parameter(help="which layers are how dense: erk, er, tensor, smart_ratio, ...")] = "erk",
    sparse_below: Annotated[
        float | None,
        Parameter(help="with --density: density from which on kernels train kept weights alone; default: 0"),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train MODEL on DATA and write its weights; killed and started again, it goes on where it was.

    With --density, the mask is drawn at random and, but for static, moves until three quarters of all steps. Layers are
    trained sparse by --sparse-below except at steps whose gradients tell where to grow: one in a hundred of rigl, and
    all of snfs as long as the mask moves.
    """
    from prunus import models
    from prunus.checkpoint import write_weights
    from prunus.data import load
    from prunus.errors import PrunusError
    from prunus.evaluation import evaluate
    from prunus.progress import shown
    from prunus.recipe.usual import usual_settings
    from prunus.settings import make_optimizer
    from prunus.training import train

    started = time.monotonic()
    check_output(output, ".safetensors")
    if sparse_below and density is None:
        raise PrunusError("--sparse-below is for layers of a sparse network: give a --density too.")
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
        sparse_below=sparse_below,
    )
    unfinished = output.with_name(f".{output.name}.unfinished")
    trained = make_optimizer(network, settings)
    steps = settings.steps_in_all(len(loaded.train))
    holding, moving = (None, None)
    if density is not None:
        holding, moving = _sparse(network, trained, density, rewiring, scope, settings.sparse_below, steps, seed)
    with shown() as progress, holding or nullcontext() as held:
        train(
            network,
            loaded,
            settings,
            seed=seed,
            optimizer=trained,
            on_step=moving,
            stateful={name: part for name, part in (("held", held), ("rewiring", moving)) if part},
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
                **({"density": holding.mask.density} if holding else {}),
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


def _sparse(
    network: Any, optimizer: Any, density: float, rewiring: str, scope: str, below: float, steps: int, seed: int
) -> tuple[Any, Any]:
    """The hold of a random mask, and what moves it, if anything."""
    import torch

    from prunus import parts
    from prunus.errors import unknown
    from prunus.holding import hold
    from prunus.laboratory.rewired import REWIRINGS
    from prunus.pruning import prune
    from prunus.score import chance
    from prunus.sparse import hold_sparse

    if rewiring not in ("static", *REWIRINGS):
        raise unknown("rewiring", rewiring, ("static", *REWIRINGS))
    generator = torch.Generator().manual_seed(seed)
    mask = prune(network, chance, density, scope=parts.scope_named(scope), generator=generator)
    held = hold_sparse(optimizer, network, mask, below=below) if below else hold(optimizer, network, mask)
    if rewiring == "static":
        return held, None
    how = {"seed": seed} if rewiring == "set" else {}
    return held, REWIRINGS[rewiring](held, optimizer, network, end=3 * steps // 4, **how)
