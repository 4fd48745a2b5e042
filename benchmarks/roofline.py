"""How near the kernels come to what the machine can do.

    python benchmarks/roofline.py [--seconds 0.1] [--threads 2] [--only linear-784-300-64 codebook-4096-1000 ...]

First the machine's own peaks, on as many threads: multiply-adds on vectors that stay in registers, or a large dense
product where torch's is faster; and lines of 16 floats read from arrays of several sizes, which gives the bandwidth of
each cache and of memory. Then each kernel of each layer: outputs, gradients of inputs and of values, on lanes; lanes of
a batch, and back; and the product of packed entries with one sample. Four roofs are times that a kernel cannot beat:

    arithmetic  two operations for each kept entry, place and sample, at the peak
    loads       a line read from the nearest cache for each 16 multiply-adds, which holds for a kernel that keeps sums
                in registers and not inputs
    memory      inputs and outputs once, and 8 bytes of each kept entry (packed ones: as they are), at the bandwidth of
                an array that is as large
    call        the time of the same call with nothing kept

The bound is the slowest of them, and its time over ours the fraction of the roof. Prints tables; writes
`benchmarks/results/roofline.json`, whose other rows stay where only some are measured.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from torch import Tensor

from kernels import LAYERS, SEED, Conv, Linear
from machine import keep
from prunus.kernel import ConvConnections, LinearConnections, Window, gathered, to_lanes
from prunus.kernel.codebook import PackedMatrix
from prunus.kernel.codebook_linear import CodebookLinear
from prunus.kernel.connections import Connections
from prunus.kernel.lanes import into_lanes, out_of_lanes
from prunus.kernel.parallel import run
from prunus.kernel.vectors import I64, LANES, LINE, VECTOR, intrinsic, taken, unpacked

DENSITIES = (0.2, 0.05, 0.02)
PACKED = {"codebook-9216-4096": 0.09, "codebook-4096-4096": 0.09, "codebook-4096-1000": 0.25}  # AlexNet's
LEVELS = 31
CHAINS = 16  # of sums, more than an addition takes cycles times those begun in a cycle
ROUNDS = 1 << 18  # of additions to each chain
SIZES = tuple(1 << n for n in (15, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28))  # bytes read by a thread
READ = 1 << 26  # bytes by a thread, at least
ROOFS = ("arithmetic", "loads", "memory", "call")
RESULTS = Path(__file__).parent / "results" / "roofline.json"


@intrinsic
def add_up(typing, lines, count, rounds, step):
    """Each round, multiply-add to each chain: `count` lines from memory, or with no `step` from one into registers."""

    def generate(context, builder, signature, arguments):
        lines, count, rounds, step = arguments
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), "llvm.fma.v16f32"
        )
        chains = [cgutils.alloca_once_value(builder, VECTOR(None)) for _ in range(CHAINS)]

        def load(offset):
            line = builder.load(builder.inttoptr(builder.add(lines, offset), VECTOR.as_pointer()))
            line.align = 4
            return line

        def sweep(term):
            for n, chain in enumerate(chains):
                builder.store(term(n, builder.load(chain)), chain)

        one = load(I64(0))
        with builder.if_else(builder.icmp_signed("==", step, I64(0))) as (registers, memory):
            with registers, cgutils.for_range_slice(builder, I64(0), builder.mul(rounds, count), I64(CHAINS), I64):
                sweep(lambda n, sum_: builder.call(multiply_add, [one, one, sum_]))
            with (
                memory,
                cgutils.for_range_slice(builder, I64(0), rounds, I64(1), I64),
                cgutils.for_range_slice(builder, I64(0), count, I64(CHAINS), I64) as (i, _),
            ):
                base = builder.mul(i, step)
                sweep(lambda n, sum_: builder.fadd(load(builder.add(base, I64(n * LINE))), sum_))
        for n, chain in enumerate(chains):  # into the array, or all would be for nothing
            place = builder.inttoptr(builder.add(lines, I64(n * LINE)), VECTOR.as_pointer())
            builder.store(builder.load(chain), place).align = 4
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 4), generate


def swept(pointer):
    """Each worker its own lines, over and over."""
    lines, size, count, rounds, step, parts = unpacked(pointer, 6)
    while True:
        part = taken(pointer, 0)
        if part >= parts:
            break
        add_up(lines + part * size, count, rounds, step)


def seconds(step: Callable[[], object], budget: float) -> float:
    """The least, of five times at least: what else the machine does is no part of a roof."""
    step()
    times, end = [], time.perf_counter() + budget
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


@dataclass(frozen=True)
class Peaks:
    """Of all threads."""

    vectors: float  # operations a second
    dense: float
    reading: dict[int, float]  # bytes a second of arrays of so many bytes, all threads together

    @classmethod
    def measured(cls, threads: int) -> "Peaks":
        """The peaks of this machine, now."""
        lines = torch.zeros(threads * max(SIZES) // 4)

        def sweep(size: int, rounds: int, step: int) -> float:
            numbers = (lines.data_ptr(), size, size // LINE, rounds, step, threads)
            return seconds(lambda: run(swept, threads, *numbers), 0.05)

        count = min(SIZES) // LINE
        rounds = ROUNDS * CHAINS // count
        vectors = 2 * LANES * count * rounds * threads / sweep(min(SIZES), rounds, 0)
        square = torch.randn(2048, 2048)
        dense = 2 * 2048**3 / seconds(lambda: square @ square, 0.3)
        times = {size: sweep(size, max(1, READ // size), LINE) for size in SIZES}
        reading = {size * threads: threads * max(size, READ) / taken for size, taken in times.items()}
        return cls(vectors, dense, reading)

    @property
    def arithmetic(self) -> float:
        """Operations a second."""
        return max(self.vectors, self.dense)

    @property
    def near(self) -> float:
        """Bytes a second from the nearest cache."""
        return max(self.reading.values())

    def bandwidth(self, size: float) -> float:
        """Bytes a second of an array of so many bytes: those of the next larger one, or the largest."""
        return next((rate for held, rate in self.reading.items() if held >= size), list(self.reading.values())[-1])

    def described(self) -> dict[str, object]:
        """In GFLOP/s and GB/s."""
        reading = {str(size): round(rate / 1e9, 1) for size, rate in self.reading.items()}
        return {
            "GFLOP/s, vectors": round(self.vectors / 1e9, 1),
            "GFLOP/s, dense product": round(self.dense / 1e9, 1),
            "GB/s read, by bytes of all threads": reading,
        }


@dataclass(frozen=True)
class Work:
    """A kernel that runs, the same with nothing kept, and what it has to do."""

    kernel: str
    step: Callable[[], object]
    nothing: Callable[[], object]
    operations: float
    bytes: float
    lines: float  # of a batch that are loaded from the nearest cache


def connections_of(layer: Linear | Conv, kept: Tensor) -> Connections:
    return LinearConnections.of(kept) if isinstance(layer, Linear) else ConvConnections.of(kept, Window(padding=(1, 1)))


def works(layer: Linear | Conv, density: float) -> Iterator[Work]:
    """The kernels of a layer, and, as they are the same at any density, lanes of its batch at the first one."""
    torch.manual_seed(SEED)
    into, out = layer.sizes
    batch, kept = torch.randn(into), torch.rand(layer.weight) < density
    inputs, gradients, bias = to_lanes(batch), to_lanes(torch.randn(out)), torch.randn(out[1])
    outputs, of_inputs = torch.empty_like(gradients), torch.empty_like(inputs)
    both = [connections_of(layer, some) for some in (kept, torch.zeros_like(kept))]
    values = [gathered(torch.randn(layer.weight), some) for some in both]
    places = both[0].reference(torch.ones(1, *into[1:]), kept.float(), None).sum().item()  # that kept entries meet
    operations, size = 2.0 * places * into[0], float(inputs.nbytes + outputs.nbytes + 8 * int(kept.sum()))
    calls = {
        "outputs": [lambda c=c, v=v: c.outputs(inputs, v, bias, outputs) for c, v in zip(both, values, strict=True)],
    }
    if isinstance(layer, Linear):
        calls["input gradients"] = [
            lambda c=c, v=v: c.input_gradients(gradients, v, of_inputs) for c, v in zip(both, values, strict=True)
        ]
        calls["value gradients"] = [lambda c=c: c.value_gradients(gradients, inputs, True) for c in both]
    else:
        calls["both gradients"] = [
            lambda c=c, v=v: c.gradients(gradients, inputs, v, of_inputs, True)
            for c, v in zip(both, values, strict=True)
        ]
    for kernel, (step, nothing) in calls.items():
        passes = 2 if kernel == "both gradients" else 1  # of multiply-adds, by the lines that one pass loads
        yield Work(kernel, step, nothing, passes * operations, size, operations / (2 * LANES))
    if density == DENSITIES[0]:
        few = torch.randn(1, 1)
        lanes, few_lanes, count = into_lanes(batch), into_lanes(few), len(batch)
        moved = float(batch.nbytes + lanes.nbytes)
        yield Work("into lanes", lambda: into_lanes(batch), lambda: into_lanes(few), 0.0, moved, 0.0)
        yield Work(
            "out of lanes", lambda: out_of_lanes(lanes, count), lambda: out_of_lanes(few_lanes, 1), 0.0, moved, 0.0
        )


def packed_work(name: str, density: float) -> Work:
    """One sample times a packed matrix."""
    torch.manual_seed(SEED)
    wide, high = map(int, name.split("-")[1:])
    values, inputs = torch.randn(LEVELS), torch.randn(1, wide)
    weight = values[torch.randint(LEVELS, (high, wide))] * (torch.rand(high, wide) < density)
    layer, nothing = (CodebookLinear(PackedMatrix.pack(some)) for some in (weight, torch.zeros_like(weight)))
    size = float(layer.matrix.nbytes + 4 * (wide + high))
    operations = 2.0 * int(weight.count_nonzero())
    return Work("packed", lambda: layer(inputs), lambda: nothing(inputs), operations, size, operations / (2 * LANES))


def measured(name: str, density: float, work: Work, peaks: Peaks, budget: float) -> dict[str, object]:
    taken = seconds(work.step, budget)
    roofs = {
        "arithmetic": work.operations / peaks.arithmetic,
        "loads": work.lines * LINE / peaks.near,
        "memory": work.bytes / peaks.bandwidth(work.bytes),
        "call": seconds(work.nothing, budget),
    }
    bound = max(ROOFS, key=roofs.__getitem__)
    return {
        "layer": name,
        "density": density,
        "kernel": work.kernel,
        "milliseconds": round(taken * 1e3, 4),
        "operations": round(work.operations),
        "bytes": round(work.bytes),
        "GFLOP/s": round(work.operations / taken / 1e9, 1),
        "GB/s": round(work.bytes / taken / 1e9, 1),
        "roofs, milliseconds": {roof: round(least * 1e3, 4) for roof, least in roofs.items()},
        "bound": bound,
        "fraction": round(roofs[bound] / taken, 3),
    }


def key(row: dict[str, object]) -> tuple[object, ...]:
    return row["layer"], row["density"], row["kernel"]


def shown(row: dict[str, object]) -> str:
    return (
        f"{row['layer']:22} {row['density']:5} {row['kernel']:16}{row['milliseconds']:9.4f} ms {row['GFLOP/s']:7.1f} "
        f"GFLOP/s {row['GB/s']:6.1f} GB/s {row['fraction']:6.2f} of {row['bound']}"
    )


def table(rows: list[dict[str, object]]) -> str:
    """Markdown, a row for each layer: GFLOP/s of its kernels by density, and how near the roof the first of them is."""
    lines = []
    for name in dict.fromkeys(row["layer"] for row in rows):
        cells = []
        for density in dict.fromkeys(row["density"] for row in rows if row["layer"] == name):
            some = [row for row in rows if (row["layer"], row["density"]) == (name, density) and row["operations"]]
            rates = " / ".join(f"{row['GFLOP/s']:.0f}" for row in some)
            cells.append(f"{rates}: {some[0]['fraction']:.2f} of {some[0]['bound']}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.1, help="for each kernel, and again with nothing kept")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="*", help="names of layers")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    peaks = Peaks.measured(options.threads)
    print(json.dumps(peaks.described(), indent=1), flush=True)
    rows = {key(row): row for row in json.loads(RESULTS.read_text())["rows"]} if RESULTS.exists() else {}
    layers = {layer.name: layer for layer in LAYERS}
    names = [*layers, *PACKED]
    for name in options.only or names:
        for density in DENSITIES if name in layers else (PACKED[name],):
            for work in works(layers[name], density) if name in layers else (packed_work(name, density),):
                row = measured(name, density, work, peaks, options.seconds)
                rows[key(row)] = row
                print(shown(row), flush=True)
        ordered = sorted(rows.values(), key=lambda row: (names.index(row["layer"]), -row["density"]))
        keep("roofline", {"seed": SEED, "seconds": options.seconds, "peaks": peaks.described(), "rows": ordered})
    print(table(ordered))


if __name__ == "__main__":
    main()
