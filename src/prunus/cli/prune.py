"""`prunus prune`."""

import inspect
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from prunus.cli.options import Json, Model, Out, Seed, Weights
from prunus.cli.output import check_output, percent, print_json, print_table


def prune(
    model: Model,
    *,
    weights: Weights,
    score: Annotated[str, Parameter(help="magnitude, taylor, movement, chance, ..., or file.py:function")],
    density: Annotated[float, Parameter(help="kept / total, in (0, 1]")],
    output: Out,
    scope: Annotated[
        str, Parameter(help="network, tensor, row, erk, smart_ratio, 'n_of_m(2, 4)', or file.py:function")
    ] = "network",
    pattern: Annotated[str, Parameter(help="element, 'channel(0)', 'block(4, 4)', 'head(64)'")] = "element",
    data: Annotated[str | None, Parameter(help="for scores that need gradients")] = None,
    initial: Annotated[Path | None, Parameter(help="weights before training, for scores that ask for them")] = None,
    mask: Annotated[Path | None, Parameter(help="also write the mask, one bit a weight")] = None,
    allow_empty: Annotated[bool, Parameter(negative="", help="a layer may lose everything")] = False,
    shrink: Annotated[
        bool,
        Parameter(negative="", help="with a channel pattern: whole channels go, and shapes get smaller"),
    ] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Zero the weights of MODEL that score least; the file keeps its names and, unless told to shrink, its shapes."""
    from prunus import models, parts
    from prunus.checkpoint import read_weights, write_weights
    from prunus.data import load
    from prunus.errors import PrunusError
    from prunus.loading import fit
    from prunus.pattern import channel
    from prunus.pruning import prune
    from prunus.scope import together
    from prunus.shrinking import shrink as shrunk
    from prunus.shrinking import spread, wiring

    started = time.monotonic()
    check_output(output, ".safetensors")
    function, where, what = parts.score_named(score), parts.scope_named(scope), parts.pattern_named(pattern)
    if shrink and what not in (channel(0), channel(1)):
        raise PrunusError(f"--shrink removes whole channels: give --pattern channel(0) or channel(1), not {pattern}.")
    loaded = load(data) if data else None
    network = models.build(model, loaded) if loaded else _as_described(model, weights)
    fit(network, read_weights(weights))
    needs = inspect.signature(function).parameters
    evidence = _evidence(needs, network, loaded, initial, seed)
    dense_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
    example = _example(network, loaded) if shrink else None
    channels = wiring(network, example=example) if example is not None else None
    if channels:
        where = together(channels.outputs if what == channel(0) else channels.inputs, where)
    kept = prune(network, function, density, scope=where, pattern=what, allow_empty=allow_empty, **evidence)
    if channels and example is not None:
        kept = spread(kept, channels)
        network = shrunk(network, kept, example=example)
    else:
        kept.apply_to(network)
    description = models.describe(network)
    write_weights(output, network.state_dict(), metadata={"model": description} if description else {})
    if mask:
        kept.save(mask)
    densities = kept.densities()
    if json:
        print_json(
            {
                "model": model,
                "data": data,
                "seed": seed,
                "density": kept.density,
                "dense_bytes": dense_bytes,
                "file_bytes": output.stat().st_size,
                "seconds": time.monotonic() - started,
                "layers": [
                    {"name": name, "shape": list(tensor.shape), "density": densities[name]}
                    for name, tensor in kept.items()
                ],
            }
        )
        return
    rows = [(name, "x".join(map(str, tensor.shape)), percent(densities[name])) for name, tensor in kept.items()]
    print_table(f"{output}: {kept.kept:,} of {kept.total:,} weights kept", ("weights", "shape", "density"), rows)
    if not shrink:
        print("The file is as large as before: zeros take their bytes until `prunus pack` stores them as zeros.")


def _as_described(model: str, weights: Path) -> Any:
    """The network for these weights: in the shape that the file says they were trained in, if it does."""
    from prunus import models
    from prunus.loading import described

    description = described(weights) or ""
    return models.from_description(description) if description.startswith(f"{model}(") else models.build(model)


def _example(network: Any, loaded: Any) -> Any:
    """One input, of the data or of the shape that a built-in network is for."""
    import torch

    from prunus import models
    from prunus.errors import PrunusError
    from prunus.models.description import Description

    if loaded is not None:
        return next(loaded.train.batches(1, most=1))[0]
    description = models.describe(network)
    if description is None:
        raise PrunusError("--shrink needs an input to follow channels with: give --data.")
    return torch.zeros(1, *Description.parse(description).input_shape)


def _evidence(needs: Any, network: Any, loaded: Any, initial: Path | None, seed: int) -> dict[str, Any]:
    import torch

    from prunus.checkpoint import read_weights
    from prunus.errors import PrunusError
    from prunus.evidence import gradients
    from prunus.tree import weights

    evidence: dict[str, Any] = {}
    if "generator" in needs:
        evidence["generator"] = torch.Generator().manual_seed(seed)
    if "initial" in needs:
        if initial is None:
            raise PrunusError("this score needs the weights before training: give --initial.")
        before = read_weights(initial)
        missing = [name for name in weights(network) if name not in before]
        if missing:
            raise PrunusError(f"{initial} does not hold {', '.join(missing[:3])}.")
        evidence["initial"] = {name: before[name] for name in weights(network)}
    if "gradients" in needs:
        if loaded is None:
            raise PrunusError("this score needs gradients: give --data.")
        evidence["gradients"] = gradients(network, loaded.train.batches(256, most=16))
    return evidence
