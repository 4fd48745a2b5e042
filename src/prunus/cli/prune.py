"""`prunus prune`."""

import inspect
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from prunus.cli.networks import as_described
from prunus.cli.options import Json, Model, Out, Seed, Weights
from prunus.cli.output import check_output, percent, print_json, print_table


def prune(
    model: Model,
    *,
    weights: Weights,
    score: Annotated[str, Parameter(help="magnitude, taylor, grasp, synflow, chance, ..., or file.py:function")],
    density: Annotated[float, Parameter(help="kept / total, in (0, 1]")],
    output: Out,
    scope: Annotated[
        str, Parameter(help="network, tensor, row, erk, er, smart_ratio, 'n_of_m(2, 4)', or file.py:function")
    ] = "network",
    pattern: Annotated[str, Parameter(help="element, 'channel(0)', 'block(4, 4)', 'head(64)'")] = "element",
    data: Annotated[str | None, Parameter(help="for scores that measure something on a network")] = None,
    initial: Annotated[Path | None, Parameter(help="weights before training, for scores that ask for them")] = None,
    rounds: Annotated[
        int, Parameter(help="prune in as many rounds, the score measured anew in each; SynFlow's authors take 100")
    ] = 1,
    mask: Annotated[Path | None, Parameter(help="also write the mask, one bit a weight")] = None,
    allow_empty: Annotated[bool, Parameter(negative="", help="a layer may lose everything")] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Zero the weights of MODEL that score least; the file keeps its names and shapes."""
    from prunus import models, parts
    from prunus.checkpoint import read_weights, write_weights
    from prunus.data import load
    from prunus.errors import PrunusError
    from prunus.laboratory.masks import MEASURED, measured
    from prunus.loading import fit
    from prunus.pruning import iterate
    from prunus.schedule import rounds as falling

    started = time.monotonic()
    check_output(output, ".safetensors")
    function, where, what = parts.score_named(score), parts.scope_named(scope), parts.pattern_named(pattern)
    loaded = load(data) if data else None
    network = models.build(model, loaded) if loaded else as_described(model, weights)
    fit(network, read_weights(weights))
    needs = inspect.signature(function).parameters
    if (wanted := sorted(MEASURED & needs.keys())) and loaded is None:
        raise PrunusError(f"this score needs {wanted[0].replace('_', ' ')}: give --data.")
    kept = iterate(
        network,
        function,
        falling(density, rounds),
        lambda pruned: measured(needs, pruned, loaded) if loaded else {},
        scope=where,
        pattern=what,
        allow_empty=allow_empty,
        **_evidence(needs, network, initial, seed),
    )
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
                "dense_bytes": 4 * sum(parameter.numel() for parameter in network.parameters()),
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
    print("The file is as large as before: zeros take their bytes until `prunus pack` stores them as zeros.")


def _evidence(needs: Any, network: Any, initial: Path | None, seed: int) -> dict[str, Any]:
    import torch

    from prunus.checkpoint import read_weights
    from prunus.errors import PrunusError
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
    return evidence
