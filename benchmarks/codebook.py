"""Inference from packed entries beside dense layers, torch.sparse and dynamic int8, at Deep Compression's large layers.

    python benchmarks/codebook.py [--rounds 12] [--threads 2] [--only "AlexNet fc8" ...] [--batches 1 64]

Layers have the shapes and densities of the paper (Han, Mao, Dally 2016, tables 4 and 5), kept entries at random places,
32 values (5 bits). The last rows are AlexNet's three layers in a row, loaded from a `.prunus` file. Each round calls
every way `CALLS` times, in random order, so that whatever else the machine does meets all alike: the first call finds
the weights of the others in the caches (`cold`), the median of those that follow is `warm`. Ratios are taken within a
round. A `stream` of as many bytes as the packed matrix has, summed up by torch, is one of the ways: the floor that
memory sets. Prints a table; writes `results/codebook.json`, whose other rows stay where only some are measured.
"""

import argparse
import json
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunus
from machine import keep
from prunus.kernel.codebook_linear import CodebookLinear

SEED = 0
LEVELS = 32
LAYERS = {
    "AlexNet fc6": (9216, 4096, 0.09),
    "AlexNet fc7": (4096, 4096, 0.09),
    "AlexNet fc8": (4096, 1000, 0.25),
    "VGG-16 fc6": (25088, 4096, 0.04),
}
TOGETHER = "AlexNet fc6-8"
BATCHES = (1, 4, 16, 32, 64)
CALLS = 4
WAYS = ("dense", "torch.sparse", "int8", "codebook", "stream")
RESULTS = Path(__file__).parent / "results" / "codebook.json"


class Sparse(nn.Module):
    """A linear layer in torch's CSR format as torch does it fastest: 32 bit indices, one sample as a vector."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().to_sparse_csr()
        indices = weight.crow_indices().int(), weight.col_indices().int()
        self.weight, self.bias = torch.sparse_csr_tensor(*indices, weight.values(), weight.shape), linear.bias.detach()

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) == 1:
            return F.linear(inputs, self.weight, self.bias)
        return (self.weight @ inputs.t().contiguous()).t() + self.bias


def linear(name: str) -> nn.Linear:
    inputs, outputs, density = LAYERS[name]
    layer = nn.Linear(inputs, outputs).requires_grad_(False)
    values = torch.randn(LEVELS) / inputs**0.5
    layer.weight.copy_(values[torch.randint(LEVELS, layer.weight.shape)] * (torch.rand(layer.weight.shape) < density))
    return layer


def int8(network: nn.Sequential) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)


def cases(only: list[str]) -> Iterator[tuple[str, dict[str, nn.Module]]]:
    """Every way of computing each layer, and the three of AlexNet in a row."""
    layers = {name: linear(name) for name in LAYERS if name in only or (TOGETHER in only and "AlexNet" in name)}
    for name, layer in layers.items():
        if name not in only:
            continue
        dense = nn.Sequential(layer)
        yield (
            name,
            {
                "dense": dense,
                "torch.sparse": nn.Sequential(Sparse(layer)),
                "int8": int8(dense),
                "codebook": nn.Sequential(CodebookLinear.of(layer)),
            },
        )
    if TOGETHER not in only:
        return
    fc6, fc7, fc8 = (layers[name] for name in LAYERS if "AlexNet" in name)
    dense = nn.Sequential(fc6, nn.ReLU(), fc7, nn.ReLU(), fc8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alexnet.prunus"
        prunus.save(dense, path, effort="fast")
        print(f"{path.name}: {path.stat().st_size:,} bytes", flush=True)
        with torch.device("meta"):
            empty = nn.Sequential(
                *(nn.Linear(m.in_features, m.out_features) if m in (fc6, fc7, fc8) else m for m in dense)
            )
        loaded = prunus.load(path, empty, as_="sparse")
    sparse = nn.Sequential(Sparse(fc6), nn.ReLU(), Sparse(fc7), nn.ReLU(), Sparse(fc8))
    yield TOGETHER, {"dense": dense, "torch.sparse": sparse, "int8": int8(dense), "codebook": loaded}


def weight_bytes(way: str, network: nn.Module) -> int:
    """Bytes of weight that one product reads."""
    total = 0
    for module in network.modules():
        if isinstance(module, CodebookLinear):
            total += module.matrix.nbytes
        elif isinstance(module, Sparse):
            parts = (module.weight.crow_indices(), module.weight.col_indices(), module.weight.values())
            total += sum(part.nbytes for part in parts)
        elif isinstance(module, nn.Linear):
            total += module.weight.nbytes
        elif way == "int8" and hasattr(module, "in_features"):
            total += module.in_features * module.out_features
    return total


def seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def timed(steps: dict[str, Callable[[], object]], rounds: int, order: random.Random) -> dict[str, np.ndarray]:
    """Seconds (rounds, 2) of every way: of the first call, and the median of those that follow."""
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in steps}
    for number in range(rounds + 1):
        for way in order.sample(list(steps), len(steps)):
            first, *others = (seconds(steps[way]) for _ in range(CALLS))
            if number:  # the first round allocates and compiles
                times[way].append((first, float(np.median(others))))
    return {way: np.array(taken) for way, taken in times.items()}


def largest_error(network: nn.Module, dense: nn.Sequential) -> float:
    """The largest difference to double precision, in parts of the largest output."""
    inputs = torch.randn(8, dense[0].in_features, generator=torch.Generator().manual_seed(SEED))
    exact = inputs.double()
    for module in dense:
        exact = (
            F.linear(exact, module.weight.double(), module.bias.double())
            if hasattr(module, "weight")
            else module(exact)
        )
    return float((network(inputs) - exact).abs().max() / exact.abs().max())


def measure(name: str, networks: dict[str, nn.Module], batch: int, rounds: int) -> dict[str, object]:
    inputs = torch.randn(batch, networks["dense"][0].in_features)
    read = {way: weight_bytes(way, network) for way, network in networks.items()}
    stream = torch.ones(read["codebook"] // 4)
    steps: dict[str, Callable[[], object]] = {way: partial(network, inputs) for way, network in networks.items()}
    times = timed({**steps, "stream": stream.sum}, rounds, random.Random(SEED))
    row: dict[str, object] = {"layer": name, "batch": batch, "rounds": rounds, "weight_bytes": read}
    for n, state in enumerate(("cold", "warm")):
        row[state] = {
            way: {
                "milliseconds": rounded(taken[:, n] * 1e3, 4),
                "speed_up": rounded(times["dense"][:, n] / taken[:, n], 2),
            }
            for way, taken in times.items()
        }
        row[state]["fraction_of_bandwidth"] = rounded(times["stream"][:, n] / times["codebook"][:, n], 3)
    return row


def rounded(values: np.ndarray, digits: int) -> list[float]:
    """Median and quartiles."""
    return [round(float(q), digits) for q in np.quantile(values, [0.5, 0.25, 0.75])]


def shown(row: dict[str, object], state: str) -> str:
    def entry(way: str) -> str:
        (milliseconds, *_), (speed_up, low, high) = (row[state][way][key] for key in ("milliseconds", "speed_up"))
        return f"{milliseconds:8.3f} {speed_up:5.1f} [{low:4.1f}, {high:4.1f}]"

    entries = "".join(entry(way) for way in WAYS)
    return f"{row['layer']:14}{row['batch']:3} {state}{entries} {row[state]['fraction_of_bandwidth'][0]:6.2f}"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="*", default=[*LAYERS, TOGETHER], help="names of layers")
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    made = dict(cases(options.only))
    errors = {
        name: {way: largest_error(network, networks["dense"]) for way, network in networks.items()}
        for name, networks in made.items()
    }
    for name, error in errors.items():
        print(name, *(f"{way} {value:.1e}" for way, value in error.items()), flush=True)
    print("prepared", flush=True)
    print(f"{'':17}" + "".join(f"{way + ', ms, x':>27}" for way in WAYS))
    large = torch.ones(10**8)
    bandwidth = large.nbytes / np.median([seconds(large.sum) for _ in range(9)])
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": [], "largest_errors": {}}
    rows = {(row["batch"], row["layer"]): row for row in before["rows"]}
    for batch in options.batches:
        for name, networks in made.items():
            rows[batch, name] = measure(name, networks, batch, options.rounds)
            for state in ("cold", "warm"):
                print(shown(rows[batch, name], state), flush=True)
    names = [*LAYERS, TOGETHER]
    ordered = sorted(rows.values(), key=lambda row: (row["batch"], names.index(row["layer"])))
    result = {"seed": SEED, "levels": LEVELS, "bytes_a_second": round(float(bandwidth))}
    print(keep("codebook", {**result, "largest_errors": before["largest_errors"] | errors, "rows": ordered}))


if __name__ == "__main__":
    main()
