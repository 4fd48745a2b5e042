"""Sparse layers beside dense ones: forward and backward of one layer, in pairs.

    python benchmarks/kernels.py [--seconds 0.5] [--threads 2] [--only linear-784-300-64 ...]

Each round times, in random order, dense PyTorch in each of its layouts, `torch.sparse` (CSR, linear layers),
SparseProp 0.1.14 (where it is installed; both of its variants of a convolution) and prunus: from batch to batch, and
on lanes as a layer among others is. All compute outputs and the gradients of inputs, kept values and bias, through
autograd; turning layouts and Python's own time count. A ratio is that of the fastest dense layout's time, within the
round. Prints a table, geometric means over layers, and the density at which each layer breaks even; writes
`benchmarks/results/kernels.json`, whose other rows stay where only some are measured.
"""

import argparse
import itertools
import json
import random
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from machine import keep
from prunus.kernel import (
    ConvConnections,
    LinearConnections,
    Window,
    conv2d,
    conv2d_on_lanes,
    linear,
    linear_on_lanes,
    scattered,
    to_lanes,
)

try:
    import sparseprop.modules
except ImportError:
    sparseprop = None

SEED = 0
DENSITIES = (0.5, 0.2, 0.1, 0.05, 0.02)
MOST, LEAST = 50, 5  # rounds
SETTLING = 0.015  # seconds that a way runs before it is timed: until threads that others left spinning are asleep
OURS = ("prunus", "prunus on lanes")
RESULTS = Path(__file__).parent / "results" / "kernels.json"

Step = Callable[[], object]


@dataclass(frozen=True)
class Linear:
    inputs: int
    outputs: int
    batch: int

    @property
    def name(self) -> str:
        return f"linear-{self.inputs}-{self.outputs}-{self.batch}"

    @property
    def weight(self) -> tuple[int, ...]:
        return (self.outputs, self.inputs)

    @property
    def sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (self.batch, self.inputs), (self.batch, self.outputs)


@dataclass(frozen=True)
class Conv:
    channels: int
    size: int
    batch: int

    @property
    def name(self) -> str:
        return f"conv-{self.channels}-{self.channels}-{self.size}-{self.batch}"

    @property
    def weight(self) -> tuple[int, ...]:
        return (self.channels, self.channels, 3, 3)

    @property
    def sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return ((self.batch, self.channels, self.size, self.size),) * 2


LAYERS = [
    *(Linear(*shape, batch) for shape in ((784, 300), (1024, 1024), (4096, 4096)) for batch in (64, 256)),
    *(Conv(channels, size, 64) for channels, size in ((16, 32), (64, 32), (64, 8), (256, 8))),
]


def step(function: Callable[..., Tensor], gradients: Tensor, *arguments: Tensor) -> Step:
    """Outputs, and the gradients of all arguments."""
    leaves = [argument.detach().requires_grad_() for argument in arguments]
    return lambda: torch.autograd.grad(function(*leaves), leaves, gradients)


def ways(layer: Linear | Conv, density: float) -> dict[str, Step]:
    """Forward and backward of `layer`, by everybody who has it; dense ways begin with that word."""
    torch.manual_seed(SEED)
    into, out = layer.sizes
    inputs, gradients, bias = torch.randn(into), torch.randn(out), torch.randn(out[1])
    weight, kept = torch.randn(layer.weight), torch.rand(layer.weight) < density
    steps: dict[str, Step] = {}
    if isinstance(layer, Linear):
        connections = LinearConnections.of(kept)
        values = weight.flatten()[connections.entries]
        zeroed = scattered(values, connections)
        steps["dense"] = step(F.linear, gradients, inputs, zeroed, bias)
        steps["dense, features first"] = step(
            lambda x, w, b: torch.addmm(b[:, None], w, x),
            gradients.t().contiguous(),
            inputs.t().contiguous(),
            zeroed,
            bias,
        )
        steps["torch.sparse"] = compressed(zeroed, inputs, gradients, bias)
        plain, on_lanes = linear, linear_on_lanes
    else:
        connections = ConvConnections.of(kept, Window(padding=(1, 1)))
        values = weight.flatten()[connections.entries]
        zeroed = scattered(values, connections)
        last = torch.channels_last
        steps["dense"] = step(lambda *a: F.conv2d(*a, padding=1), gradients, inputs, zeroed, bias)
        steps["dense, channels last"] = step(
            lambda *a: F.conv2d(*a, padding=1),
            gradients.to(memory_format=last), inputs.to(memory_format=last), zeroed.to(memory_format=last), bias,
        )  # fmt: skip
        plain, on_lanes = conv2d, conv2d_on_lanes
    steps["prunus"] = step(lambda x, v, b: plain(x, v, b, connections), gradients, inputs, values, bias)
    steps["prunus on lanes"] = step(
        lambda x, v, b: on_lanes(x, v, b, connections), to_lanes(gradients), to_lanes(inputs), values, bias
    )
    if sparseprop is not None:
        steps |= sparseprop_ways(layer, zeroed, inputs, gradients, bias)
    return steps


class Compressed(torch.autograd.Function):
    """The fastest that can be put together of `torch.sparse`, on features first: its own autograd is slower."""

    @staticmethod
    def forward(ctx, inputs, values, bias, matrix, turned, order):
        ctx.save_for_backward(inputs, values)
        ctx.rest = matrix, turned, order
        weight = torch.sparse_csr_tensor(matrix.crow_indices(), matrix.col_indices(), values, matrix.shape)
        return torch.addmm(bias[:, None], weight, inputs)

    @staticmethod
    def backward(ctx, gradients):
        (inputs, values), (matrix, turned, order) = ctx.saved_tensors, ctx.rest
        weight = torch.sparse_csr_tensor(turned.crow_indices(), turned.col_indices(), values[order], turned.shape)
        of_weight = torch.sparse.sampled_addmm(matrix, gradients, inputs.t(), beta=0.0)
        return weight @ gradients, of_weight.values(), gradients.sum(1), None, None, None


def compressed(weight: Tensor, inputs: Tensor, gradients: Tensor, bias: Tensor) -> Step:
    places = torch.arange(weight.count_nonzero()).double() + 1
    turned = torch.zeros(weight.shape, dtype=torch.float64).masked_scatter(weight != 0, places).t().to_sparse_csr()
    rest = weight.to_sparse_csr(), turned, turned.values().long() - 1

    def function(inputs: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        return Compressed.apply(inputs, values, bias, *rest)

    return step(function, gradients.t().contiguous(), inputs.t().contiguous(), rest[0].values(), bias)


def sparseprop_ways(
    layer: Linear | Conv, weight: Tensor, inputs: Tensor, gradients: Tensor, bias: Tensor
) -> dict[str, Step]:
    parameter = torch.nn.Parameter(bias.clone())
    if isinstance(layer, Linear):
        made = {"SparseProp": sparseprop.modules.SparseLinear(weight, parameter)}
    else:
        made = {
            f"SparseProp, {name}": sparseprop.modules.SparseConv2d(
                weight, parameter, padding=1, stride=1, vectorizing_over_on=over
            )
            for name, over in (("over batch", False), ("over width", True))
        }

    def way(module: torch.nn.Module) -> Step:
        leaves = [inputs.clone().requires_grad_(), *module.parameters()]
        return lambda: torch.autograd.grad(module(leaves[0]), leaves, gradients)

    return {name: way(module) for name, module in made.items()}


def seconds(run: Step) -> float:
    settled = time.perf_counter() + SETTLING
    while time.perf_counter() < settled:
        run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(layer: Linear | Conv, density: float, budget: float) -> dict[str, object]:
    """Medians of each way's time, and quartiles of its ratio to the best dense layout."""
    steps = ways(layer, density)
    for run in steps.values():
        run()
    order = random.Random(SEED)
    times: dict[str, list[float]] = {way: [] for way in steps}
    end = time.perf_counter() + budget
    for number in range(MOST):
        for way in order.sample(list(steps), len(steps)):
            times[way].append(seconds(steps[way]))
        if number >= LEAST and time.perf_counter() > end:
            break
    best = min((way for way in steps if way.startswith("dense")), key=lambda way: float(np.median(times[way])))
    row: dict[str, object] = {"layer": layer.name, "density": density, "best dense": best, "ways": {}}
    for way, taken in times.items():
        ratios = np.array(times[best]) / np.array(taken)
        row["ways"][way] = {
            "milliseconds": round(float(np.median(taken)) * 1e3, 4),
            "ratio": round(float(np.median(ratios)), 3),
            "quartiles": [round(float(q), 3) for q in np.quantile(ratios, [0.25, 0.75])],
        }
    return row


def best_of(row: dict[str, object], prefix: str) -> float:
    return max((way["ratio"] for name, way in row["ways"].items() if name.startswith(prefix)), default=float("nan"))


def means(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Geometric means over layers of how often as fast as dense, and as the others at their best, prunus is."""
    found = []
    for kind, density in itertools.product(("linear", "conv"), DENSITIES):
        some = [row for row in rows if row["layer"].startswith(kind) and row["density"] == density]
        for way in OURS if some else ():
            mean: dict[str, object] = {"kind": kind, "density": density, "layers": len(some), "way": way}
            for other in ("dense", "SparseProp", "torch.sparse"):
                ratios = [row["ways"][way]["ratio"] / best_of(row, other) for row in some]
                if np.isnan(ratios).any():  # torch.sparse has no convolution, and SparseProp may not be here
                    continue
                mean[f"over {other}"] = round(float(np.exp(np.mean(np.log(ratios)))), 2)
                mean[f"least over {other}"] = round(min(ratios), 2)
            found.append(mean)
    return found


def break_even(rows: list[dict[str, object]], way: str) -> dict[str, float | None]:
    """The density at which each layer takes as long as dense, between those measured; None where it is above all."""
    found: dict[str, float | None] = {}
    for name in dict.fromkeys(row["layer"] for row in rows):
        points = sorted((row["ways"][way]["ratio"], row["density"]) for row in rows if row["layer"] == name)
        ratios, densities = zip(*points, strict=True)
        inside = ratios[0] < 1 < ratios[-1]
        found[name] = round(float(np.exp(np.interp(0.0, np.log(ratios), np.log(densities)))), 3) if inside else None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each layer and density, after five rounds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="*", help="names of layers")
    parser.add_argument("--densities", type=float, nargs="*", default=DENSITIES)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore", UserWarning)  # that CSR is new
    rows = {}
    if RESULTS.exists():
        rows = {(row["layer"], row["density"]): row for row in json.loads(RESULTS.read_text())["rows"]}
    for layer, density in itertools.product(LAYERS, options.densities):
        if not options.only or layer.name in options.only:
            rows[layer.name, density] = measure(layer, density, options.seconds)
            print(shown(rows[layer.name, density]), flush=True)
            write(list(rows.values()), options.seconds)
    for mean in means(list(rows.values())):
        print(mean)
    for way in OURS:
        print(f"{way}: as fast as dense at", break_even(list(rows.values()), way))


def write(rows: list[dict[str, object]], budget: float) -> None:
    names = [layer.name for layer in LAYERS]
    rows = sorted(rows, key=lambda row: (names.index(row["layer"]), -row["density"]))
    result = {"means": means(rows), "break even": {way: break_even(rows, way) for way in OURS}, "rows": rows}
    keep("kernels", {"seed": SEED, "seconds": budget, **result})


def shown(row: dict[str, object]) -> str:
    dense = row["ways"][row["best dense"]]["milliseconds"]
    ratios = "  ".join(
        f"{way} {entry['ratio']:.2f} [{entry['quartiles'][0]:.2f}, {entry['quartiles'][1]:.2f}]"
        for way, entry in row["ways"].items()
        if not way.startswith("dense")
    )
    return f"{row['layer']:20} {row['density']:5} {row['best dense']} {dense:.3f} ms  {ratios}"


if __name__ == "__main__":
    main()
