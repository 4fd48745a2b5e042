"""`prunus prune`."""

import inspect
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from prunus.cli.evidence import check_data, evidence, measuring
from prunus.cli.networks import as_described, example_for
from prunus.cli.options import Json, Model, Out, Seed, Weights
from prunus.cli.output import check_output, percent, print_json, print_table


def prune(
    model: Model,
    *,
    weights: Weights,
    density: Annotated[float, Parameter(help="kept / total, in (0, 1]")],
    output: Out,
    score: Annotated[
        str | None,
        Parameter(help="magnitude, taylor, obd, fisher, wanda, grasp, synflow, chance, ..., or file.py:function"),
    ] = None,
    method: Annotated[
        str | None,
        Parameter(help="in place of a score: sparsegpt, l_obs, obs or woodfisher, which move the weights they keep"),
    ] = None,
    scope: Annotated[
        str | None,
        Parameter(
            help="network, tensor, row, erk, er, smart_ratio, 'n_of_m(2, 4)', or file.py:function; "
            "network for scores, obs and woodfisher, tensor for the other methods, unless given"
        ),
    ] = None,
    pattern: Annotated[
        str, Parameter(help="element, 'channel(0)', 'block(4, 4)', 'head(64)', column, whole, or file.py:name")
    ] = "element",
    rounds: Annotated[
        int, Parameter(help="prune in as many rounds, the score measured anew in each; SynFlow's authors take 100")
    ] = 1,
    reconstruct: Annotated[
        bool, Parameter(negative="", help="move the weights that a score keeps, so that outputs of layers change least")
    ] = False,
    data: Annotated[str | None, Parameter(help="for methods, and scores that measure something on a network")] = None,
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
    from prunus.loading import fit
    from prunus.measures import check_measurable, measured
    from prunus.pattern import channel
    from prunus.pruning import iterate
    from prunus.schedule import rounds as falling
    from prunus.scope import together
    from prunus.shrinking import shrink as shrunk
    from prunus.shrinking import spread, wiring
    from prunus.tree import assign
    from prunus.tree import weights as prunable

    started = time.monotonic()
    check_output(output, ".safetensors")
    if (score is None) == (method is None):
        raise PrunusError("give either --score or --method.")
    if method and (reconstruct or pattern != "element" or rounds != 1):
        raise PrunusError(
            f"{method} moves the weights it keeps, each by itself: leave out --reconstruct, --pattern and --rounds."
        )
    function: Any = parts.score_named(score) if score else parts.method_named(str(method))
    where, what = parts.scope_named(scope or "network"), parts.pattern_named(pattern)
    if shrink and what not in (channel(0), channel(1)):
        raise PrunusError(f"--shrink removes whole channels: give --pattern channel(0) or channel(1), not {pattern}.")
    if score:
        check_measurable(function)
    needs = inspect.signature(function).parameters
    loaded: Any = load(data) if data else None
    if loaded is None:
        check_data(needs, method or ("--reconstruct" if reconstruct else None))
    network = models.build(model, loaded) if loaded else as_described(model, weights)
    fit(network, read_weights(weights))
    dense_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
    what_asks = "--shrink" if shrink else "this score" if "flows" in needs else None
    example: Any = example_for(network, loaded, what_asks) if what_asks else None
    channels = wiring(network, example=example) if shrink else None
    if channels:
        where = together(channels.outputs if what == channel(0) else channels.inputs, where)
    if method:
        chosen = {"scope": where} if scope else {}
        moved, kept = function(network, density=density, **chosen, **measured(needs, network, loaded))
    else:
        kept = iterate(
            network,
            function,
            falling(density, rounds),
            measuring(needs, loaded, example),
            scope=where,
            pattern=what,
            allow_empty=allow_empty,
            **evidence(needs, network, initial, seed),
        )
        kept = spread(kept, channels) if channels else kept
        moved = prunable(network)
        if reconstruct:
            moved = layerwise.reconstruct(network, kept, **measured(["grams"], network, loaded))
    assign(network, kept.apply(moved))
    if shrink:
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
