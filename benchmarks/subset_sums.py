"""Subset sums: a network's weights from random numbers, and what that takes.

    python benchmarks/subset_sums.py network --weights fc-500.safetensors
    python benchmarks/subset_sums.py scale [--count 25600000]
    python benchmarks/subset_sums.py solvers --weights fc-500.safetensors [--instances 10]
    python benchmarks/subset_sums.py logarithm [--targets 20000]
    python benchmarks/subset_sums.py trade-off --weights fc-500.safetensors [--sample 20000]

`network` is the experiment of Pensia et al. 2020, who take 21 random numbers for each weight of a trained 784-500-10
network, uniform between its least and its greatest weight, and look for sums within 0.01 (with Gurobi: 21.5 hours on 36
cores). The network is trained by

    prunus train fc-500 --data mnist --epochs 10 --batch 64 --optimizer sgd --learning-rate 0.1 --weight-decay 1e-3 \\
        --no-augment -o fc-500.safetensors

`scale` has as many weights as a ResNet-50. `solvers` gives the same problems, on one thread, to HiGHS (in
scipy) and to CP-SAT (`pip install ortools`; left out where it is not there). `logarithm` measures how many items it
takes to succeed 999 times in 1000. `trade-off` puts random weights drawn, weights kept and epsilon side by side, and
below them what no choice of items can beat. Prints tables and writes `benchmarks/results/subset-sums-*.json`.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from experiment import print_table
from machine import keep
from prunus.checkpoint import read_weights
from prunus.subset_sum import Drawn, Subsets, bounds, closest, fewest

try:
    from ortools.sat.python import cp_model
except ImportError:
    cp_model = None

ITEMS, EPSILON = 21, 0.01
SEEDS = (0, 1, 2)
QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
Row = dict[str, object]


def weights_of(path: Path) -> Tensor:
    """All weights of the matrices in a file, one after the other."""
    return torch.cat([w.flatten() for w in read_weights(path).values() if w.ndim > 1])


def drawn_for(targets: Tensor, seed: int, n: int = ITEMS) -> Drawn:
    return Drawn(n, float(targets.min()), float(targets.max()), seed)


def timed(solve: Callable[[], Subsets], times: int = 1) -> tuple[float, Subsets]:
    """The least of so many times, and what was found."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        found = solve()
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def network(options: argparse.Namespace) -> None:
    targets = weights_of(options.weights)
    ways = {
        "fewest": lambda items: fewest(targets, items, EPSILON),
        "fewest, signed": lambda items: fewest(targets, items, EPSILON, signed=True),
        "closest": lambda items: closest(targets, items),
        "closest, at most 2": lambda items: closest(targets, items, at_most=2),
    }
    drawn = [drawn_for(targets, seed) for seed in range(8)]
    items = drawn[0].rows(0, len(targets))
    rows: list[Row] = []
    for way, solve in ways.items():
        found = [solve(numbers) for numbers in drawn]
        seconds, _ = timed(lambda solve=solve: solve(items), times=3)
        kept = [float(one.counts.sum()) for one in found]
        errors = found[0].errors
        places = [int(q * (len(errors) - 1)) for q in QUANTILES]
        rows.append(
            {
                "way": way,
                "seconds": seconds,
                "microseconds a weight": seconds / len(targets) * 1e6,
                "kept": fmean(kept),
                "kept, deviation": stdev(kept),
                "kept a weight": fmean(kept) / len(targets),
                "success": fmean(one.success(EPSILON) for one in found),
                "unmet": [int((one.errors > EPSILON).sum()) for one in found],
                "worst": [float(one.errors.max()) for one in found],
                "errors": dict(zip(map(str, QUANTILES), errors.sort().values[places].tolist(), strict=True)),
            }
        )
    none = float((targets.abs() <= EPSILON).double().mean())
    print(f"{len(targets):,} weights of {drawn[0].low:.4f} to {drawn[0].high:.4f}, {none:.1%} need no item; ", end="")
    print(f"{ITEMS} items each, {ITEMS * len(targets):,} in all; epsilon {EPSILON}; {len(drawn)} seeds")
    print_table(
        ["", "s", "us a weight", "kept", "kept a weight", "unmet", *(f"error {q:.1%}" for q in QUANTILES), "worst"],
        [
            [
                str(row["way"]),
                f"{row['seconds']:.3f}",
                f"{row['microseconds a weight']:.2f}",
                f"{row['kept']:,.0f} +- {row['kept, deviation']:,.0f}",
                f"{row['kept a weight']:.3f}",
                ", ".join(map(str, row["unmet"])),
                *(f"{error:.1e}" for error in row["errors"].values()),
                ", ".join(f"{worst:.1e}" for worst in row["worst"]),
            ]
            for row in rows
        ],
    )
    save(
        "network",
        rows,
        network=options.weights.name,
        weights=len(targets),
        low=drawn[0].low,
        high=drawn[0].high,
        no_item=none,
    )


def scale(options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.empty(options.count).normal_(0, 0.02, generator=generator)
    drawn = drawn_for(targets, 0)
    fewest(targets[:10_000], drawn, EPSILON), closest(targets[:1000], drawn)
    rows: list[Row] = []
    for count in sorted({min(options.count, size) for size in (10**4, 10**5, 10**6, 10**7, options.count)}):
        seconds, found = timed(lambda count=count: fewest(targets[:count], drawn, EPSILON), 3 if count < 10**7 else 1)
        rows.append(
            {
                "weights": count,
                "seconds": seconds,
                "microseconds a weight": seconds / count * 1e6,
                "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                "kept a weight": float(found.counts.double().mean()),
                "success": found.success(EPSILON),
            }
        )
        del found
    print(f"normal weights, deviation 0.02; {ITEMS} items each, drawn on the way; fewest within {EPSILON}")
    print_table(
        ["weights", "s", "us a weight", "peak GB", "kept a weight", "within epsilon"],
        [
            [
                f"{row['weights']:,}",
                f"{row['seconds']:.3f}",
                f"{row['microseconds a weight']:.3f}",
                f"{row['peak GB']:.2f}",
                f"{row['kept a weight']:.4f}",
                f"{row['success']:.6f}",
            ]
            for row in rows
        ],
    )
    save("scale", rows)


def solvers(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    weights = weights_of(options.weights)
    asked = weights[weights.abs() > EPSILON]
    targets = asked[torch.randperm(len(asked), generator=torch.Generator().manual_seed(0))[:20_000]].double()
    drawn = drawn_for(weights, 0)
    items = drawn.rows(0, len(targets)).double()
    rows: list[Row] = []
    if cp_model is None:
        print("CP-SAT is left out: ortools is not installed")
    for what, ours, theirs in (
        ("closest", lambda: closest(targets, items), {"HiGHS": highs_closest, "CP-SAT": sat_closest}),
        ("fewest", lambda: fewest(targets, items, EPSILON), {"HiGHS": highs_fewest, "CP-SAT": sat_fewest}),
    ):
        ours()
        seconds, found = timed(ours, times=2)
        here = seconds / len(targets)
        within, best = found.within(EPSILON), found.errors if what == "closest" else found.counts
        rows.append({"problem": what, "solver": "prunus", "seconds a weight": here, "ratio": 1.0, "same": None})
        for name, solve in theirs.items():
            if name == "CP-SAT" and cp_model is None:
                continue
            same, start = 0, time.perf_counter()
            for b in range(options.instances):
                kept = solve(float(targets[b]), items[b].numpy(), options.limit)
                if what == "fewest":
                    same += (None if kept is None else kept.sum()) == (best[b] if within[b] else None)
                elif kept is not None:  # CP-SAT rounds 22 numbers to billionths
                    same += bool(abs(abs(kept @ items[b].numpy() - float(targets[b])) - best[b]) < 2.2e-8)
            there = (time.perf_counter() - start) / options.instances
            rows.append(
                {
                    "problem": what,
                    "solver": name,
                    "seconds a weight": there,
                    "ratio": there / here,
                    "same": f"{same} of {options.instances}",
                }
            )
    print(f"one thread, {ITEMS} items, epsilon {EPSILON}, {options.limit:g} s at most a weight")
    print_table(
        ["problem", "solver", "ms a weight", "times ours", "same optimum"],
        [
            [
                str(row["problem"]),
                str(row["solver"]),
                f"{row['seconds a weight'] * 1e3:.4g}",
                f"{row['ratio']:,.0f}",
                str(row["same"] or ""),
            ]
            for row in rows
        ],
    )
    save("solvers", rows, network=options.weights.name, limit=options.limit)


def highs_closest(target: float, items: np.ndarray, limit: float) -> np.ndarray | None:
    """min z: |target - items x| <= z. In units of 1e-6, since what is off by less than 1e-6 counts as equal there."""
    n, target, items = len(items), target * 1e6, items * 1e6
    found = milp(
        np.append(np.zeros(n), 1.0),
        constraints=LinearConstraint(
            np.vstack([np.append(items, -1.0), np.append(items, 1.0)]), [-np.inf, target], [target, np.inf]
        ),
        integrality=np.append(np.ones(n), 0),
        bounds=Bounds(np.zeros(n + 1), np.append(np.ones(n), np.inf)),
        options={"mip_rel_gap": 0.0, "time_limit": limit},
    )
    return None if found.x is None else np.round(found.x[:n])


def highs_fewest(target: float, items: np.ndarray, limit: float) -> np.ndarray | None:
    found = milp(
        np.ones(len(items)),
        constraints=LinearConstraint(items[None], target - EPSILON, target + EPSILON),
        integrality=np.ones(len(items)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0, "time_limit": limit},
    )
    return None if found.x is None else np.round(found.x)


def sat_closest(target: float, items: np.ndarray, limit: float) -> np.ndarray | None:
    """In whole billionths: CP-SAT knows integers only."""
    model, chosen, total = sat_model(items)
    error = model.new_int_var(0, 10**11, "error")
    model.add(total - round(target * 1e9) <= error)
    model.add(round(target * 1e9) - total <= error)
    model.minimize(error)
    return sat_solution(model, chosen, limit)


def sat_fewest(target: float, items: np.ndarray, limit: float) -> np.ndarray | None:
    model, chosen, total = sat_model(items)
    model.add_linear_constraint(total, round((target - EPSILON) * 1e9), round((target + EPSILON) * 1e9))
    model.minimize(sum(chosen))
    return sat_solution(model, chosen, limit)


def sat_model(items: np.ndarray) -> tuple:
    model = cp_model.CpModel()
    chosen = [model.new_bool_var(str(i)) for i in range(len(items))]
    return model, chosen, sum(round(float(a) * 1e9) * x for a, x in zip(items, chosen, strict=True))


def sat_solution(model, chosen: list, limit: float) -> np.ndarray | None:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers, solver.parameters.max_time_in_seconds = 1, limit
    status = solver.solve(model)
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return np.array([solver.value(x) for x in chosen], float) if found else None


def logarithm(options: argparse.Namespace) -> None:
    """Targets uniform on [-1/2, 1/2], items on [-1, 1], fresh for each target."""
    targets = torch.rand(options.targets, generator=torch.Generator().manual_seed(0)) - 0.5
    rows: list[Row] = []
    n = 1
    for power in range(1, 7):
        epsilon = 10.0**-power
        while (success := closest(targets, Drawn(n, -1.0, 1.0, 1, n)).success(epsilon)) < 0.999:
            n += 1
        rows.append(
            {
                "epsilon": epsilon,
                "items": n,
                "success": success,
                "floor": bounds.items_floor(1.0, epsilon),
                "3 log2": 3 * np.log2(1 / epsilon),
                "proven, all targets": bounds.items_needed(epsilon, 0.001),
                "one item alone": bounds.net_items(epsilon, 0.001),
            }
        )
    logs = np.log2([1 / float(row["epsilon"]) for row in rows])
    names = ("items", "floor", "3 log2", "proven, all targets")
    slopes = {name: float(np.polyfit(logs, [float(row[name]) for row in rows], 1)[0]) for name in names}
    measured, *others = (f"{slope:.2f}" for slope in slopes.values())
    print(f"items for which 999 of 1000 targets have a subset within epsilon; {options.targets:,} targets")
    print_table(
        ["epsilon", "measured", "success", "floor", "3 log2(1/eps)", "proven, all targets", "one item alone"],
        [
            [
                f"{row['epsilon']:.0e}",
                f"{row['items']}",
                f"{row['success']:.4%}",
                f"{row['floor']}",
                f"{row['3 log2']:.0f}",
                f"{row['proven, all targets']}",
                f"{row['one item alone']:,}",
            ]
            for row in rows
        ]
        + [["items per halving of epsilon", measured, "", *others, ""]],
    )
    save("logarithm", rows, slopes=slopes)


def trade_off(options: argparse.Namespace) -> None:
    weights = weights_of(options.weights)
    order = torch.randperm(len(weights), generator=torch.Generator().manual_seed(0))
    targets = weights[order[: options.sample]]
    rows: list[Row] = []
    for epsilon in (0.1, 0.03, 0.01, 0.003, 0.001, 0.0001):
        for n in (5, 10, 15, 21, 31):
            found = [fewest(targets, drawn_for(weights, seed, n), epsilon) for seed in SEEDS]
            kept = [float((one.counts * one.within(epsilon)).double().mean()) for one in found]
            success = fmean(one.success(epsilon) for one in found)
            rows.append(
                {
                    "epsilon": epsilon,
                    "items": n,
                    "kept": fmean(kept),
                    "kept, deviation": stdev(kept),
                    "floor": bounds.kept_floor(targets, n, epsilon, success),
                    "success": success,
                }
            )
    print(f"{len(targets):,} of the weights, items of {len(SEEDS)} seeds; a weight that is not reached keeps nothing")
    print_table(
        ["epsilon", "random weights a weight", "kept a weight", "no choice keeps less", "within epsilon"],
        [
            [
                f"{row['epsilon']:g}",
                f"{row['items']}",
                f"{row['kept']:.3f} +- {row['kept, deviation']:.3f}",
                f"{row['floor']:.3f}",
                f"{row['success']:.3%}",
            ]
            for row in rows
        ],
    )
    save("trade-off", rows, network=options.weights.name, sample=len(targets))


def save(name: str, rows: list[Row], **more: object) -> None:
    print(keep(f"subset-sums-{name}", {"items": ITEMS, "epsilon": EPSILON, **more, "rows": rows}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(required=True)
    runs = {network: "network", scale: "scale", solvers: "solvers", logarithm: "logarithm", trade_off: "trade-off"}
    for run, name in runs.items():
        part = parts.add_parser(name)
        part.set_defaults(run=run)
        if run in (network, solvers, trade_off):
            part.add_argument("--weights", type=Path, required=True)
        if run is scale:
            part.add_argument("--count", type=int, default=25_600_000)
        if run is solvers:
            part.add_argument("--instances", type=int, default=10)
            part.add_argument("--limit", type=float, default=30.0)
        if run is logarithm:
            part.add_argument("--targets", type=int, default=20_000)
        if run is trade_off:
            part.add_argument("--sample", type=int, default=20_000)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
