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
    density: Annotated[float, Parameter(help="kept / total, in (0, 1]")],
    output: Out,
    score: Annotated[
        str | None, Parameter(help="magnitude, taylor, obd, fisher, wanda, movement, chance, ..., or file.py:function")
    ] = None,
    method: Annotated[
        str | None, Parameter(help="in place of a score: sparsegpt, l_obs or obs, which move the weights they keep")
    ] = None,
    scope: Annotated[
        str | None,
        Parameter(
            help="network, tensor, row, erk, smart_ratio, 'n_of_m(2, 4)', or file.py:function; "
            "network for scores and obs, tensor for the other methods, unless given"
        ),
    ] = None,
    pattern: Annotated[str, Parameter(help="element, 'channel(0)', 'block(4, 4)', 'head(64)'")] = "element",
    reconstruct: Annotated[
        bool, Parameter(negative="", help="move the weights that a score keeps, so that outputs of layers change least")
    ] = False,
    data: Annotated[str | None, Parameter(help="for methods, and scores that need gradients or inputs")] = None,
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
    from prunus import layerwise, models, parts
    from prunus.checkpoint import read_weights, write_weights
    from prunus.data import load
    from prunus.errors import PrunusError
    from prunus.evidence import input_grams
    from prunus.loading import fit
    from prunus.pattern import channel
    from prunus.pruning import prune
    from prunus.scope import together
    from prunus.shrinking import shrink as shrunk
    from prunus.shrinking import spread, wiring
    from prunus.tree import assign
    from prunus.tree import weights as prunable

    started = time.monotonic()
    check_output(output, ".safetensors")
    if (score is None) == (method is None):
        raise PrunusError("give either --score or --method.")
    if method and (reconstruct or pattern != "element"):
        raise PrunusError(
            f"{method} moves the weights it keeps, each by itself: leave out --reconstruct and --pattern."
        )
    function: Any = parts.score_named(score) if score else parts.method_named(str(method))
    where, what = parts.scope_named(scope or "network"), parts.pattern_named(pattern)
    if shrink and what not in (channel(0), channel(1)):
        raise PrunusError(f"--shrink removes whole channels: give --pattern channel(0) or channel(1), not {pattern}.")
    loaded = load(data) if data else None
    network = models.build(model, loaded) if loaded else _as_described(model, weights)
    fit(network, read_weights(weights))
    needs = inspect.signature(function).parameters
    dense_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
    example = _example(network, loaded) if shrink else None
    channels = wiring(network, example=example) if example is not None else None
    if channels:
        where = together(channels.outputs if what == channel(0) else channels.inputs, where)
    if method:
        measured = _measured_for_method(needs, network, loaded)
        moved, kept = function(network, measured, density, **({"scope": where} if scope else {}))
    else:
        evidence = _evidence(needs, network, loaded, initial, seed)
        kept = prune(network, function, density, scope=where, pattern=what, allow_empty=allow_empty, **evidence)
        kept = spread(kept, channels) if channels else kept
        moved = prunable(network)
        if reconstruct:
            moved = layerwise.reconstruct(
                network, kept, input_grams(network, _batches(loaded, "--reconstruct needs what layers read"))
            )
    assign(network, kept.apply(moved))
    if example is not None:
        network = shrunk(network, kept, example=example)
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
    from prunus.evidence import MEASURES, measured
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
    wanted = " and ".join(name.replace("_", " ") for name in MEASURES if name in needs)
    if wanted:
        evidence |= measured(needs, network, lambda: _batches(loaded, f"this score needs {wanted}"))
    return evidence


def _measured_for_method(needs: Any, network: Any, loaded: Any) -> Any:
    """What the method is given besides the network: grams, or the inverse Hessian."""
    from prunus.curvature import inverse_hessian
    from prunus.evidence import input_grams

    measure = inverse_hessian if "inverse" in needs else input_grams
    return measure(network, _batches(loaded, "a method needs what layers read"))


def _batches(loaded: Any, need: str) -> Any:
    from prunus.errors import PrunusError

    if loaded is None:
        raise PrunusError(f"{need}: give --data.")
    return loaded.train.batches(256, most=16)
