"""Random networks that hold a trained one: what is certified beside what is found, and what one weight takes.

    python benchmarks/constructions.py diamonds [--items 20 30 40 60] [--epsilon 0.01]
    python benchmarks/constructions.py draws [--targets 1000]

`diamonds` trains a network of two layers and one of four on digits, finds each in a random network of ReLU diamonds
(Pensia et al. 2020, Theorem 1), and prints the bound on the distance of the two outputs, on all inputs of norm 1 or
less, beside the largest distance that gradient ascent finds; the theorem asks for at most epsilon. `draws` measures how
many random weights a weight of the target takes, uniform on [-1/2, 1/2], until 95 of 100 are met within epsilon: by a
pair near (w, 1) and another near (-w, -1), or by a single weight (Malach et al. 2020); by a golden series of hyperbolic
weights (Orseau et al. 2020); by subset sums of products, and of weights (Pensia et al. 2020). Means and
standard deviations over three seeds. Takes about eight minutes on a core; writes results/constructions-*.json.
"""

import argparse
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from torch import Tensor, nn

from experiment import print_table
from machine import keep
from prunus import draws, models
from prunus.construction import (
    Hyperbolic,
    approximate,
    diamond,
    golden_series,
    nearest_subset,
    smallest_subset,
    worst_input,
)
from prunus.data import load
from prunus.evaluation import evaluate
from prunus.recipe.usual import usual_settings
from prunus.subset_sum import fewest
from prunus.training import train

SEEDS = (0, 1, 2)
EPSILONS = (0.1, 0.03, 0.01, 0.003, 0.001)
SHARE = 0.95
NETWORKS = {
    "64-500-10": "fc-500",
    "64-100-100-100-10": f"{os.path.relpath(Path(__file__).with_name('networks.py'))}:four_layers",
}
Row = dict[str, object]


def spread(values: list[float]) -> str:
    return f"{fmean(values):.3g} +- {stdev(values):.1g}"


def trained(model: str, seed: int) -> nn.Module:
    """On digits, by SGD with weight decay, as the paper's network was."""
    network = models.build(model, load("digits"), seed=seed)
    settings = replace(usual_settings("fc-500"), epochs=20, optimizer="sgd", learning_rate=0.1, weight_decay=5e-4)
    train(network, load("digits"), settings, seed=seed)
    return network.eval()


def diamonds(items: list[int], epsilon: float) -> list[Row]:
    """Two choices at every number of hidden units for an input, half of which may serve."""
    data, rows = load("digits"), []
    for name, model in NETWORKS.items():
        targets = [trained(model, seed) for seed in SEEDS]
        for n in items:
            for choose in (nearest_subset, smallest_subset):
                found = [
                    approximate(t, n, epsilon, seed=seed, structure=diamond, choose=choose)
                    for seed, t in zip(SEEDS, targets, strict=True)
                ]
                measured = [float(one.error(worst_input(one, data.input_shape)[None])) for one in found]
                changed = [
                    evaluate(one.pruned(), data.test()).error - evaluate(t, data.test()).error
                    for one, t in zip(found, targets, strict=True)
                ]
                rows.append(
                    {
                        "network": name,
                        "items": n,
                        "choice": choose.__name__,
                        "random_per_weight": fmean(one.random_weights / one.target_weights for one in found),
                        "kept_per_weight": [one.kept_weights / one.target_weights for one in found],
                        "within_epsilon": [one.within_epsilon for one in found],
                        "max_error": [one.max_error for one in found],
                        "bound": [one.bound for one in found],
                        "measured": measured,
                        "error_change": changed,
                    }
                )
                if any(m > one.bound for m, one in zip(measured, found, strict=True)):
                    raise SystemExit(f"a distance of {measured} was found beyond the bound.")
    return rows


def print_diamonds(rows: list[Row], epsilon: float) -> None:
    print_table(
        ("network", "items", "choice", "random", "kept", "within", "certified", "measured", f"<= {epsilon:g}", "test"),
        [
            (
                row["network"],
                str(row["items"]),
                row["choice"],
                f"{row['random_per_weight']:.0f}",
                f"{fmean(row['kept_per_weight']):.2f}",
                f"{100 * fmean(row['within_epsilon']):.2f} %",
                spread(row["bound"]),
                spread(row["measured"]),
                f"{sum(bound <= epsilon for bound in row['bound'])} of {len(SEEDS)}",
                f"{fmean(row['error_change']):+.2f}",
            )
            for row in rows
        ],
    )


def single(targets: Tensor, epsilon: float, seed: int) -> float:
    """Draws on [-1, 1] until one is within epsilon, for 95 of 100 targets."""

    def offered(stream: int, first: int, count: int) -> list[tuple[float, Tensor]]:
        return [(1.0, draws.uniform(seed, stream, (count,), -1, 1, first=first))]

    return quantile(targets, offered, epsilon)


def pairs(targets: Tensor, epsilon: float, seed: int) -> float:
    """Draws of pairs until one is within epsilon / 2 of (w, 1) and another of (-w, -1), as the sum of two errors is."""

    def offered(stream: int, first: int, count: int) -> list[tuple[float, Tensor]]:
        u, v = draws.uniform(seed, stream, (count, 2), -1, 1, first=2 * first).unbind(1)
        return [(sign, torch.where((v - sign).abs() <= epsilon / 2, u, torch.inf)) for sign in (1.0, -1.0)]

    return quantile(targets, offered, epsilon / 2)


def quantile(targets: Tensor, offered: Callable[[int, int, int], list[tuple[float, Tensor]]], radius: float) -> float:
    """The draw by which 95 of 100 targets have all numbers that they need within `radius`.

    `offered(stream, first, count)` are draws `first` on, and the sign of the target that they may serve; a tenth of the
    targets share a stream.
    """
    groups = targets.chunk(10)
    hits = [torch.full((2, len(group)), torch.inf) for group in groups]
    last, first, count = math.inf, 0, 1 << 10
    while math.isinf(last):
        for stream, (group, found) in enumerate(zip(groups, hits, strict=True), start=1):
            parts = offered(stream, first, count)
            for row, (sign, numbers) in zip(found[: len(parts)], parts, strict=True):
                torch.minimum(row, first + first_hits(numbers, sign * group, radius), out=row)
        needed_by = torch.cat([found[: len(parts)].amax(0) for found in hits]).sort().values
        last = float(needed_by[math.ceil(SHARE * len(targets)) - 1])
        first, count = first + count, min(2 * count, 1 << 22)
    return last + 1


def first_hits(numbers: Tensor, wanted: Tensor, radius: float) -> Tensor:
    """For each number wanted the place of the first within `radius`; infinite where there is none."""
    firsts = torch.full((len(wanted),), torch.inf)
    for places in numbers.isfinite().nonzero().flatten().split(1 << 14):
        near = (numbers[places] - wanted[:, None]).abs() <= radius
        if len(places):
            firsts = torch.minimum(firsts, torch.where(near.any(1), places[near.byte().argmax(1)].float(), torch.inf))
    return firsts


def least(successful: Callable[[int], float], step: float) -> int:
    """The fewest items, in steps of a factor, that succeed 95 times in 100."""
    n = 1
    while successful(n) < SHARE:
        n = max(n + 1, math.ceil(n * step))
    return n


def golden(targets: Tensor, epsilon: float, seed: int) -> float:
    law = Hyperbolic(0.5, math.ceil(math.log2(0.5 / epsilon)) + 1)

    def successful(n: int) -> float:
        items = law.draw(seed, n, (len(targets), n))
        kept = golden_series(targets, (items,), epsilon)
        return float((((items * kept).sum(1) - targets).abs() <= epsilon).double().mean())

    return least(successful, 1.03)


def sums(targets: Tensor, epsilon: float, seed: int) -> float:
    def successful(n: int) -> float:
        return fewest(targets, draws.uniform(seed, n, (len(targets), n), -1, 1), epsilon).success(epsilon)

    return least(successful, 1.0)


def sums_of_products(targets: Tensor, epsilon: float, seed: int) -> float:
    """Paths u v of both halves: hidden units of either sign, and a subset of each."""

    def successful(n: int) -> float:
        u, v = draws.uniform(seed, n, (2, len(targets), n), -1, 1).double()
        met = [fewest(targets, (u * v).where(side, 0), epsilon).within(epsilon) for side in (u > 0, u < 0)]
        return float((met[0] & met[1]).double().mean())

    return least(successful, 1.0)


WAYS = {
    "pairs": (pairs, 2),  # random weights of a draw
    "single weights": (single, 1),
    "golden series": (golden, 1),
    "sums of products": (sums_of_products, 2),
    "sums": (sums, 1),
}


def needed(count: int) -> list[Row]:
    rows: list[Row] = []
    for epsilon in EPSILONS:
        row: Row = {"epsilon": epsilon}
        for name, (way, weights) in WAYS.items():
            targets = [draws.uniform(seed, 0, (count,), -0.5, 0.5) for seed in SEEDS]
            row[name] = [weights * way(t, epsilon, seed) for seed, t in zip(SEEDS, targets, strict=True)]
            print(f"epsilon {epsilon:g}, {name}: {spread(row[name])}", flush=True)
        rows.append(row)
    return rows


def laws(rows: list[Row]) -> Row:
    """The power of 1 / epsilon that fits best, and how many weights a factor of two in epsilon adds."""
    bits = np.log2([1 / row["epsilon"] for row in rows])
    means = {name: np.array([fmean(row[name]) for row in rows]) for name in WAYS}
    return {
        name: {"power": float(np.polyfit(bits, np.log2(m), 1)[0]), "per_bit": float(np.polyfit(bits, m, 1)[0])}
        for name, m in means.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    first = verbs.add_parser("diamonds")
    first.add_argument("--items", type=int, nargs="+", default=[20, 30, 40, 60])
    first.add_argument("--epsilon", type=float, default=0.01)
    second = verbs.add_parser("draws")
    second.add_argument("--targets", type=int, default=1000)
    options = parser.parse_args()
    if options.verb == "diamonds":
        rows = diamonds(options.items, options.epsilon)
        print_diamonds(rows, options.epsilon)
        keep("constructions-diamonds", {"seeds": SEEDS, "epsilon": options.epsilon, "rows": rows})
        return
    rows = needed(options.targets)
    fitted = laws(rows)
    print_table(("epsilon", *WAYS), [(f"{r['epsilon']:g}", *(spread(r[name]) for name in WAYS)) for r in rows])
    print_table(
        ("fitted", *WAYS),
        [
            ("power of 1 / epsilon", *(f"{fitted[name]['power']:.2f}" for name in WAYS)),
            ("weights for a bit more", *(f"{fitted[name]['per_bit']:.3g}" for name in WAYS)),
        ],
    )
    about = {"seeds": SEEDS, "targets": options.targets, "share": SHARE}
    keep("constructions-draws", {**about, "rows": rows, "fitted": fitted})


if __name__ == "__main__":
    main()
