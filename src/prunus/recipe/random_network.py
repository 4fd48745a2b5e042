"""A random network contains yours: what that takes, measured, beside what is proven and what was published.

Source: Lueker 1998, "Exponentially small bounds on the expected optimum of the partition and subset sum problems";
Malach et al. 2020, "Proving the lottery ticket hypothesis: pruning is all you need"; Pensia et al. 2020, "Optimal
lottery tickets via subset sum".
"""

from collections.abc import Callable, Mapping, Sequence
from math import log2
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from prunus.laboratory import Approximated, Engine, Netted, Summed, serial
from prunus.progress import Progress, silent
from prunus.recipe.charts import Chart, Line, keep_charts
from prunus.recipe.replicates import check_replicates, keep_cells
from prunus.store import Piece, Store, identity
from prunus.subset_sum import bounds

ITEMS = 24
EPSILONS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
SHARE = 0.99  # of the targets that one number, or a sum, has to be near to
OFFERED = (16, 21, 31)  # random weights for each of a network's; 21 are those of Pensia et al. 2020
NEARNESS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
TARGETS, NETTED_TARGETS = 10_000, 2_000
PUBLISHED = 9.39  # weights kept a weight: Pensia et al. 2020, section 5, 784-500-10, 21 items, epsilon 0.01

Runs = Sequence[Piece]


def measure(
    path: Path,
    name: str,
    store: Store,
    engine: Engine = serial,
    progress: Progress = silent,
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
) -> tuple[Chart, Chart, Chart]:
    """Three charts, kept in `store` for reports; the last is about the network in the file `path`, called `name`.

    How near sums of n numbers come; how many random weights one weight takes, by one near weight and by sums; how many
    a trained weight keeps. What `store` holds already is not measured again. Raises `PrunusError` for a single seed.
    """
    check_replicates(seeds)
    sums = [Summed(ITEMS, EPSILONS, TARGETS, seed) for seed in seeds]
    nets = [Netted(EPSILONS, SHARE, NETTED_TARGETS, seed) for seed in seeds]
    kept = [Approximated.at(path, OFFERED, NEARNESS, seed) for seed in seeds]
    engine(store, [*sums, *nets, *kept], progress)
    charts = (error_by_items(store, sums), weights_by_epsilon(store, nets, sums), kept_by_epsilon(store, kept))
    title = f"A random network contains {name}"
    keep_charts(
        store,
        title,
        f"Random weights of which some add up to one of a target. Weights of {name} are those of the last chart; the "
        "others have targets uniform on [-1/2, 1/2], and numbers uniform on [-1, 1] for each.",
        charts,
    )
    _keep_successes(store, sums)
    return charts


def error_by_items(store: Store, sums: Runs) -> Chart:
    """How near the nearest sum of n numbers is."""
    names = {"worst": f"worst of {TARGETS:,}", "rare": "worst but 1 in 1000", "median": "median"}
    counts = range(4, ITEMS + 1)
    proven = (10.0**-k for k in range(1, 9))
    return Chart(
        "Error against items",
        "How far the nearest sum of n random numbers is. Each further number nearly halves the median; the worst have "
        "had bad luck, like numbers of one sign only. No n numbers come nearer than the lowest line to all targets.",
        "items a weight",
        "error",
        (
            *(Line(said, _over(store, sums, _errors(key)), _identities(sums)) for key, said in names.items()),
            Line("n = log2(1/error) - 1: the floor", {n: (2.0 ** -(n + 1),) for n in counts}),
            Line("n = 3 log2(1/error): as published", {n: (2.0 ** (-n / 3),) for n in counts}),
            Line(
                "proven for all, in 99 of 100 draws (Lueker)",
                {bounds.items_needed(epsilon, 0.01): (epsilon,) for epsilon in proven},
            ),
        ),
    )


def weights_by_epsilon(store: Store, nets: Runs, sums: Runs) -> Chart:
    """How many random weights one weight takes."""
    missed = 1 - SHARE
    return Chart(
        "Random weights for one weight",
        f"Drawn until {100 * SHARE:g} of 100 targets are met within epsilon: by one weight near it, as 1/epsilon "
        "(Malach), or by a sum of some, as log(1/epsilon) (Pensia). What is proven for one weight is for the ends of "
        "[-1, 1], where half of its surroundings is missing; what is proven for sums is for all targets at once.",
        "epsilon",
        "random weights a weight",
        (
            Line(
                "one weight alone",
                _over(store, nets, lambda metrics: dict(zip(EPSILONS, metrics["draws"], strict=True))),
                _identities(nets),
            ),
            Line("subset sums", _over(store, sums, _needed), _identities(sums)),
            Line("one weight alone: proven (Malach)", {e: (bounds.net_items(e, missed),) for e in EPSILONS}),
            Line("subset sums: proven (Lueker)", {e: (bounds.items_needed(e, missed),) for e in EPSILONS}),
            Line("3 log2(1/epsilon): as published (Pensia)", {e: (3 * log2(1 / e),) for e in EPSILONS}),
            Line("no numbers do with fewer", {e: (bounds.items_floor(SHARE, e),) for e in EPSILONS}),
        ),
    )


def kept_by_epsilon(store: Store, kept: Sequence[Approximated]) -> Chart:
    """How many of the random weights a trained one keeps."""

    def column(n: int, key: str) -> Callable[[Any], dict[float, float]]:
        return lambda metrics: {row["epsilon"]: row[key] for row in metrics["rows"] if row["items"] == n}

    floor = _over(store, kept, column(21, "floor"))
    missed = max(1 - row["within"] for run in kept for row in store.metrics(run)["rows"])
    weights = min(store.metrics(kept[0])["weights"], kept[0].most)
    return Chart(
        "Weights kept of the random ones",
        f"The smallest subset within epsilon, for each of {weights:,} weights. One that no subset is near keeps "
        f"nothing: {100 * missed:.2g} % at most. A weight within epsilon of 0 needs none.",
        "epsilon",
        "weights kept a weight",
        (
            *(Line(f"of {n}", _over(store, kept, column(n, "kept")), _identities(kept)) for n in OFFERED),
            Line("no choice of 21 keeps less", {e: (fmean(floors),) for e, floors in floor.items()}),
            Line("as published: 784-500-10, of 21, the nearest subset", {0.01: (PUBLISHED,)}),
        ),
    )


def _over(store: Store, runs: Runs, column: Callable[[Any], Mapping[float, float]]) -> dict[float, tuple[float, ...]]:
    """What all runs have at each x."""
    columns = [column(store.metrics(run)) for run in runs]
    return {x: tuple(one[x] for one in columns) for x in columns[0] if all(x in one for one in columns)}


def _errors(key: str) -> Callable[[Any], dict[float, float]]:
    return lambda metrics: {row["items"]: row[key] for row in metrics["rows"] if row["items"] >= 4}


def _needed(metrics: Any) -> dict[float, float]:
    """By epsilon, the fewest items of which some sum is near to the part `SHARE` of the targets."""
    found = {}
    for place, epsilon in enumerate(EPSILONS):
        enough = (row["items"] for row in metrics["rows"] if row["within"][place] >= SHARE)
        if (fewest := next(enough, None)) is not None:
            found[epsilon] = fewest
    return found


def _keep_successes(store: Store, sums: Runs) -> None:
    """A table of how often some sum of n numbers is near enough, beside what is proven for all targets at once."""
    tables = [store.metrics(run)["rows"] for run in sums]
    rows: list[list[Any]] = []
    for same in zip(*tables, strict=True):
        shares = [[100 * share for share in row["within"]] for row in same]
        rows.append([str(same[0]["items"]), *(_cell(values, sums) for values in zip(*shares, strict=True))])
    rows.append(["proven", *(f"{bounds.items_needed(epsilon, 1 - SHARE)} items" for epsilon in EPSILONS)])
    keep_cells(
        store,
        f"Percent of {TARGETS:,} targets met by some sum",
        ["items", *(f"within {epsilon:g}" for epsilon in EPSILONS)],
        rows,
        f"Means and sample standard deviations over {len(sums)} seeds. Proven: all targets of [-1/2, 1/2] at once, but "
        "for one draw of the items in 100.",
    )


def _cell(values: Sequence[float], runs: Runs) -> dict[str, Any]:
    return {"mean": fmean(values), "spread": stdev(values), "runs": list(_identities(runs))}


def _identities(runs: Runs) -> tuple[str, ...]:
    return tuple(map(identity, runs))
