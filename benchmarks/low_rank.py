"""Low rank after a warm start (Wang et al. 2021, "Pufferfish"): accuracy, parameters, multiplications and time.

    python benchmarks/low_rank.py train --store STORE [--networks mlp lenet-5 vgg-19] [--seeds 0 1 2]
    python benchmarks/low_rank.py time [--rounds 15] [--threads 1]

`train`: each network dense; made low rank, a quarter of full rank, after 80/300 of the steps (the paper's share); low
rank from drawn factors all along; with as many weights kept by magnitude, over all tensors, after as many steps; and
dense but narrow all along, with about as many parameters. All have as many steps in the same order, and settings that
nothing was tried out for; the test part is read at the end. It takes half an hour of a core; what the store holds is
not trained again.
`time`: a training step and a call in evaluation mode, beside dense ones in the same round, in random order, in single
precision; and of an LSTM and attention, with how far their outputs are from the full ones' at full rank. Quartiles.
Both write results/low-rank-*.json.
"""

import argparse
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, quantiles, stdev
from time import perf_counter

import torch
from torch import Tensor, nn

from experiment import print_rows, print_table, verdict
from machine import keep
from prunus.laboratory import Drawn, Factored, Pruned, Task, Trained, serial, size
from prunus.low_rank import low_rank
from prunus.progress import shown
from prunus.recipe.bench import race
from prunus.recipe.replicates import Difference
from prunus.recipe.tables import Row, keep_table
from prunus.settings import Settings
from prunus.store import Piece, Store, identity
from prunus.tree import weights

HERE = Path(__file__).parent
GREY = Settings(steps=1000, batch=64, decay="cosine")
COLOUR = Settings(
    steps=1000,
    batch=64,
    optimizer="sgd",
    learning_rate=0.05,
    weight_decay=1e-4,
    decay="steps",
    drops=(1 / 2, 5 / 6),
    augment=True,
    precision="bf16-mixed",
)
WARM = 80 / 300
BATCH = 64


@dataclass(frozen=True)
class Case:
    """A network, one of about as many parameters as it has in low rank, and how many first layers stay full."""

    title: str
    wide: str
    narrow: str
    data: str
    settings: Settings
    first: int


def _file(text: str) -> str:
    return f"{os.path.relpath(HERE)}/{text}"


CASES = {
    "mlp": Case("784-1024-1024-10", _file("networks.py:mlp_1024"), _file("widths.py:mlp_626"), "mnist", GREY, 0),
    "lenet-5": Case("LeNet-5", "lenet-5", _file("widths.py:lenet_5_narrow"), "mnist", GREY, 1),
    "vgg-19": Case(
        "VGG-19, a quarter as wide",
        _file("widths.py:vgg_19_quarter"),
        _file("widths.py:vgg_19_narrow"),
        "cifar10",
        COLOUR,
        9,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    first = verbs.add_parser("train")
    first.add_argument("--store", type=Path, required=True)
    first.add_argument("--networks", nargs="+", choices=CASES, default=list(CASES))
    first.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    second = verbs.add_parser("time")
    second.add_argument("--rounds", type=int, default=15)
    second.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    {"train": train, "time": time}[options.verb](options)


def train(options: argparse.Namespace) -> None:
    store, found = Store(options.store), []
    for name in options.networks:
        case = CASES[name]
        ways = [pieces(case, seed) for seed in options.seeds]
        with shown() as progress:
            serial(store, [run for some in ways for run in some.values()], progress)
        rows = [row(store, way, [some[way] for some in ways]) for way in ways[0]]
        print(f"\n{case.title} on {case.data}, {case.settings.steps} steps\n")
        print_rows(rows)
        print(statements(rows))
        keep_table(store, f"Low rank: {case.title}", __doc__ or "", rows)
        found.append({"network": name, **asdict(case), "rows": [asdict(one) for one in rows]})
    keep("low-rank-train", {"seeds": options.seeds, "found": found})


def pieces(case: Case, seed: int) -> dict[str, Piece]:
    """The runs of one seed."""
    task, narrow = Task.of(case.wide, case.data), Task.of(case.narrow, case.data)
    settings, drawn = case.settings, Drawn(task, seed)
    moment = Trained(task, drawn, settings, seed, until=round(WARM * (settings.steps or 0)))
    return {
        "dense": Trained(task, moment, settings, seed),
        "low rank, warm": Factored(task, moment, settings, seed, first=case.first),
        "low rank, cold": Factored(task, drawn, settings, seed, first=case.first, warm=False),
        "by magnitude": Trained(
            task, moment, settings, seed, Pruned(task, moment, share(task, case.first), scope="network")
        ),
        "narrow": Trained(narrow, Drawn(narrow, seed), settings, seed),
    }


def share(task: Task, first: int) -> float:
    """The part of all weights that leaves as many parameters as low rank."""
    model = task.network()
    full, low = (sum(one.numel() for one in network.parameters()) for network in (model, low_rank(model, first=first)))
    return 1 - (full - low) / sum(weight.numel() for weight in weights(model).values())


def row(store: Store, way: str, runs: list[Piece]) -> Row:
    sizes = []
    for run in runs:
        mask = store.result(run.mask) if isinstance(run, Trained) and run.mask else None
        sizes.append(size(run.task, store.result(run), mask))
    figures = {
        "parameters": tuple(float(one.parameters) for one in sizes),
        "multiplications": tuple(float(one.multiplications) for one in sizes),
        "% right": tuple(100 - store.metrics(run)["error"] for run in runs),
    }
    return Row(way, figures, tuple(map(identity, runs)))


def statements(rows: list[Row]) -> str:
    """What the paper says, and what is so here: seed by seed, in percentage points."""
    right = {one.name: one.figures["% right"] for one in rows}
    dense, warm, *_ = (one.figures["parameters"][0] for one in rows)
    return "\n".join(
        [
            f"- {dense / warm:.2f} times fewer parameters",
            f"- warm at least as good as cold: {apart(right, 'low rank, warm', 'low rank, cold', 0)}",
            f"- warm within half a point of dense: {apart(right, 'low rank, warm', 'dense', -0.5)}",
            f"- warm better than narrow: {apart(right, 'low rank, warm', 'narrow', 0)}",
            f"- warm no worse than by magnitude: {apart(right, 'low rank, warm', 'by magnitude', 0)}",
        ]
    )


def apart(right: dict[str, tuple[float, ...]], one: str, other: str, least: float) -> str:
    """How far `one` is above `other`, and whether by `least`."""
    each = [a - b for a, b in zip(right[one], right[other], strict=True)]
    found = Difference(fmean(each), stdev(each) / len(each) ** 0.5)
    return f"{found.mean:+.2f}, standard error {found.error:.2f}: {verdict(found, least)}"


def time(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    found = []
    for title, networks, inputs in timed():
        calls = race(networks, inputs, rounds=options.rounds)
        steps = race_steps(networks, inputs, options.rounds)
        for way, network in networks.items():
            parameters = sum(parameter.numel() for parameter in network.parameters())
            found.append(
                {
                    "network": title,
                    "way": way,
                    "parameters": parameters,
                    "call": asdict(calls[way]),
                    "step": steps[way],
                    "from full": at_full_rank(networks["dense"], inputs) if way == "low rank" else None,
                }
            )
            print(found[-1], flush=True)
    keep("low-rank-time", {"batch": BATCH, "threads": options.threads, "found": found})
    print_table(
        ["network", "way", "parameters", "step, ms", "times dense", "call, ms", "times dense"],
        [
            [
                one["network"],
                one["way"],
                f"{one['parameters']:,}",
                *(
                    text
                    for kind in ("step", "call")
                    for text in (f"{1e3 * one[kind]['seconds'][1]:.2f}", quartiles(one[kind]["ratio"]))
                ),
            ]
            for one in found
        ],
    )


def quartiles(ratio: Sequence[float]) -> str:
    return f"{ratio[1]:.2f} [{ratio[0]:.2f}, {ratio[2]:.2f}]"


def timed() -> Iterator[tuple[str, dict[str, nn.Module], Tensor]]:
    """A title, networks and a batch for them."""
    for case in CASES.values():
        task, narrow = Task.of(case.wide, case.data), Task.of(case.narrow, case.data)
        inputs, _ = next(task.read().train.batches(BATCH, most=1))
        dense = task.network()
        yield case.title, {"dense": dense, "low rank": quarter(dense, case.first), "narrow": narrow.network()}, inputs
    for title, dense, inputs in (
        ("LSTM, two layers of 200", First(nn.LSTM(200, 200, 2)), torch.randn(35, 20, 200)),
        ("attention, 256 wide", First(nn.MultiheadAttention(256, 4, batch_first=True), 3), torch.randn(8, 64, 256)),
    ):
        yield title, {"dense": dense, "low rank": quarter(dense, 0, 0)}, inputs


def quarter(dense: nn.Module, first: int, last: int = 1) -> nn.Module:
    return low_rank(dense, first=first, last=last)


class First(nn.Module):
    """The first of what `module` gives for the inputs, so many times."""

    def __init__(self, module: nn.Module, times: int = 1) -> None:
        super().__init__()
        self.module, self.times = module, times

    def forward(self, inputs: Tensor) -> Tensor:
        return self.module(*[inputs] * self.times)[0]


def race_steps(networks: dict[str, nn.Module], inputs: Tensor, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Quartiles of the seconds of a step, and of how many times faster it is than the dense one of the round."""
    steps = {}
    for name, network in networks.items():
        optimizer = torch.optim.SGD(network.train().parameters(), lr=1e-4, momentum=0.9, fused=True)
        steps[name] = step_of(network, optimizer, inputs)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    order = random.Random(0)
    for number in range(rounds + 3):
        for name in order.sample(list(steps), len(steps)):
            started = perf_counter()
            steps[name]()
            if number >= 3:
                seconds[name].append(perf_counter() - started)
    return {
        name: {
            "seconds": quantiles(own, n=4),
            "ratio": quantiles([a / b for a, b in zip(seconds["dense"], own, strict=True)], n=4),
        }
        for name, own in seconds.items()
    }


def step_of(network: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor) -> Callable[[], None]:
    def step() -> None:
        optimizer.zero_grad()
        network(inputs).square().mean().backward()
        optimizer.step()

    return step


@torch.no_grad()
def at_full_rank(dense: nn.Module, inputs: Tensor) -> float:
    """The largest difference of an output from the dense network's, in parts of the largest."""
    expected = dense.eval()(inputs)
    found = low_rank(dense, ratio=1.0, first=0, last=0)(inputs)
    return float((found - expected).abs().max() / expected.abs().max())


if __name__ == "__main__":
    main()
