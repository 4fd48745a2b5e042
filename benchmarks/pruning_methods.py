r"""Methods of pruning on MNIST, LeNet-300-100 and Caffe's LeNet-5: what was published of each, beside what comes out.

    python benchmarks/pruning_methods.py --store STORE [--only NAME ...] [--seeds 0 1 2] [--show]

A line is one published figure of one method. Weights start as torch draws them, images are not augmented, LeNet-5 is
trained in bfloat16; by SGD, variational dropout and L0 by Adam. Every method may take about as long as the dense
network, or twice as long; `EPOCHS` says how many, of which papers have several times as many. Of a line with several
candidates, seed 99 is trained with each, and validation chooses; the test part is read for the other seeds, once.

The rule, written before the runs: a line holds where the network keeps no more than was published, and loses, against
the dense network of its own seed, no more points on average than was published plus two standard errors of that
average. A comparison holds where its mean difference has the published sign and is two standard errors or more, or, of
"no worse", where it is not two standard errors or more on the other side; between them nothing is decided.
Kept weights are counted without the biases, as the papers do; they count no indices either. Of L0's groups, the
weights that lie on no path from an input to an output are gone.

Lines come in the order of `LINES`; --only takes names or beginnings of names, --show prints what the store holds of
them and runs nothing. Writes results/pruning-methods.json.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from experiment import engine_of, print_table
from machine import keep
from prunus.laboratory import (
    Compensated,
    Drawn,
    Ended,
    GraduallyPruned,
    Pruned,
    Reparametrised,
    Rewired,
    Rewound,
    Task,
    Trained,
)
from prunus.laboratory.order import missing
from prunus.mask import Mask
from prunus.progress import shown
from prunus.reachability import effective
from prunus.reparametrised import HardConcrete, Method, Surgery, VariationalDropout
from prunus.settings import Settings
from prunus.store import Piece, Store, identity

SMALL, LARGE = "lenet-300-100", "lenet-5"
EPOCHS = {
    SMALL: {"dense": 20, "rigl": 15, "round": 2, "retrain": 10, "gradual": 20, "surgery": 20, "noise": 40, "gates": 30},
    LARGE: {"dense": 5, "round": 1, "retrain": 3, "gradual": 7, "surgery": 6, "noise": 8, "gates": 8},
}
TUNED_ON = 99


@dataclass(frozen=True)
class Bed:
    """A network, one seed, and the trainings that methods begin with."""

    task: Task
    seed: int

    @property
    def drawn(self) -> Drawn:
        return Drawn(self.task, self.seed)

    @property
    def dense(self) -> Trained:
        return Trained(self.task, self.drawn, self.settings("dense"), self.seed)

    def settings(self, stage: str, **others: Any) -> Settings:
        usual = Settings(
            epochs=EPOCHS[self.task.model][stage],
            batch=100,
            optimizer="sgd",
            learning_rate=0.05,
            weight_decay=5e-4,
            decay="cosine",
            warm_up=100,
            precision="bf16-mixed" if self.task.model == LARGE else "32-true",
        )
        return replace(usual, **others)

    def steps(self, settings: Settings) -> int:
        return settings.steps_in_all(len(self.task.read().train))

    def tuned(self, start: Piece, mask: Piece, stage: str) -> Trained:
        """`start` trained on under `mask`, its schedule anew."""
        return Trained(self.task, Rewound(start, self.drawn), self.settings(stage), self.seed, mask=mask)


@dataclass(frozen=True)
class Run:
    """What a method ended with: the last training, and the mask."""

    last: Piece
    mask: Piece


Make = Callable[[Bed, Any], Run]


@dataclass(frozen=True)
class Line:
    """A published figure: the part of weights kept, error and that of the dense network in percent, and a source."""

    name: str
    model: str
    density: float
    error: float
    dense: float
    make: Make
    candidates: tuple[Any, ...] = (None,)
    source: str = ""
    published: bool = True  # else a line to compare others with


@dataclass(frozen=True)
class Comparison:
    """`first` is said to be better than `second`, both names of lines; or no worse."""

    first: str
    second: str
    no_worse: bool = False
    source: str = ""


def snip(density: float) -> Make:
    """Lee et al. 2019: by |w dL/dw| before training, over all layers."""

    def make(bed: Bed, _: Any) -> Run:
        mask = Pruned(bed.task, bed.drawn, keep=density, score="taylor", scope="network")
        return Run(Trained(bed.task, bed.drawn, bed.settings("dense"), bed.seed, mask=mask), mask)

    return make


def in_rounds(score: str, *densities: float) -> Make:
    """Prune by a score over all layers, retrain, and again: LeCun et al. 1990, Han et al. 2015."""

    def make(bed: Bed, _: Any) -> Run:
        run, mask, before = bed.dense, None, 1.0
        for density in densities:
            mask = Pruned(bed.task, run, keep=density / before, within=mask, score=score, scope="network")
            run, before = bed.tuned(run, mask, "round"), density
        assert mask is not None
        return Run(run, mask)

    return make


def at_once(score: str, density: float) -> Make:
    """Prune in one shot, each layer as dense as `candidate` says, and retrain; `l_obs` moves what it keeps."""

    def make(bed: Bed, scope: str) -> Run:
        if score == "l_obs":
            moved = Compensated(bed.task, bed.dense, density, scope=scope)
            return Run(bed.tuned(moved, Ended(moved), "retrain"), Ended(moved))
        mask = Pruned(bed.task, bed.dense, keep=density, score=score, scope=scope)
        return Run(bed.tuned(bed.dense, mask, "retrain"), mask)

    return make


def gradual(density: float) -> Make:
    """Zhu & Gupta 2017, over all layers, from the dense start to three quarters."""

    def make(bed: Bed, _: Any) -> Run:
        run = GraduallyPruned(
            bed.task, bed.drawn, bed.settings("gradual"), bed.seed, density=density, begin=0.1, scope="network"
        )
        return Run(run, Ended(run))

    return make


def surgery(density: float) -> Make:
    """Guo et al. 2016 from the dense network; what is above the density at half of the steps is cut, the rest heals."""

    def make(bed: Bed, deviations: float) -> Run:
        settings = bed.settings("surgery")
        total = bed.steps(settings)
        until = total // 2
        method = Surgery(deviations, until=until, gamma=10 / total, of_tensors=narrow(bed.task, deviations))
        return reparametrised(bed, settings, method, density, until)

    return make


def narrow(task: Task, deviations: float) -> tuple[tuple[str, float], ...]:
    """Lower thresholds for the layers of few weights, which the paper keeps denser too."""
    if task.model == LARGE:
        return (("conv1.weight", 0.5), ("conv2.weight", deviations - 1), ("fc2.weight", deviations - 2))
    return (("fc3.weight", deviations - 2),)


def variational(density: float) -> Make:
    """Molchanov et al. 2017 from the dense network; LeNet-5's first convolution, of 500 weights, is kept whole."""

    def make(bed: Bed, _: Any) -> Run:
        large = bed.task.model == LARGE
        settings = by_adam(bed, "noise")
        method = VariationalDropout(1 / len(bed.task.read().train), warm_up=bed.steps(settings) // 4)
        others = (density * 430_500 - 500) / 430_000 if large else density
        return reparametrised(bed, settings, method, others, left=("conv1.weight",) if large else ())

    return make


def gates(bed: Bed, strength: float) -> Run:
    """Louizos et al. 2018 from the dense network: gates of what layers read, but of the first convolution's images."""
    settings = by_adam(bed, "gates")
    rows, warm_up = len(bed.task.read().train), bed.steps(settings) // 4
    method = HardConcrete(strength / rows, axis=1, chance=0.9, rate=10.0, warm_up=warm_up)
    return reparametrised(bed, settings, method, left=("conv1.weight",) if bed.task.model == LARGE else ())


def by_adam(bed: Bed, stage: str) -> Settings:
    return bed.settings(stage, batch=256, optimizer="adam", learning_rate=1.2e-3, weight_decay=0.0)


def reparametrised(
    bed: Bed,
    settings: Settings,
    method: Method,
    density: float = 1.0,
    until: int | None = None,
    left: tuple[str, ...] = (),
) -> Run:
    """The dense network trained with `method`, from `until` on without it."""
    start = Rewound(bed.dense, bed.drawn)
    run = Reparametrised(bed.task, start, settings, bed.seed, method, density, left, until)
    last = run if until is None else Trained(bed.task, run, settings, bed.seed, mask=Ended(run))
    return Run(last, Ended(run))


def sparse_from_the_start(how: str, density: float) -> Make:
    """Evci et al. 2020: SGD, an Erdos-Renyi mask, moved every 100 steps in the first half, or not."""

    def make(bed: Bed, _: Any) -> Run:
        settings = bed.settings("rigl", learning_rate=0.2, weight_decay=1e-4)
        mask = Pruned(bed.task, bed.drawn, keep=density, score="chance", scope="erk", seed=bed.seed)
        if how == "static":
            return Run(Trained(bed.task, bed.drawn, settings, bed.seed, mask=mask), mask)
        run = Rewired(bed.task, bed.drawn, settings, bed.seed, mask=mask, method=how, every=100)
        return Run(run, Ended(run))

    return make


FEW = (0.5, 0.25, 0.12, 0.08)
SNIP, MEMORY = "SNIP, table 1", "SNIP, table 1; dense from memory"
LINES = [
    Line("SNIP 95 %", SMALL, 0.05, 1.6, 1.7, snip(0.05), source=SNIP),
    Line("SNIP 98 %", SMALL, 0.02, 2.4, 1.7, snip(0.02), source=SNIP),
    Line("RigL 98 %", SMALL, 0.02, 0, 0, sparse_from_the_start("rigl", 0.02), published=False),
    Line("SET 98 %", SMALL, 0.02, 0, 0, sparse_from_the_start("set", 0.02), published=False),
    Line("static 98 %", SMALL, 0.02, 0, 0, sparse_from_the_start("static", 0.02), published=False),
    Line("variational dropout", SMALL, 1 / 68, 1.92, 1.64, variational(1 / 68), source="its repository"),
    Line("gradual magnitude", SMALL, 1 / 68, 0, 0, gradual(1 / 68), published=False),
    Line("DNS", SMALL, 1 / 56, 1.99, 2.28, surgery(1 / 56), (4.0, 5.0), "soft weight-sharing, table 1"),
    Line("L0", SMALL, 26_642 / 266_200, 1.8, 1.6, gates, (1.0, 1.5), "266-88-33, from memory"),
    Line("OBD 92 %", SMALL, 0.08, 2.0, 1.8, in_rounds("obd", *FEW), source=MEMORY),
    Line("magnitude 92 %", SMALL, 0.08, 0, 0, in_rounds("magnitude", *FEW), published=False),
    Line("OBD 98 %", SMALL, 0.02, 0, 0, in_rounds("obd", *FEW, 0.04, 0.02), published=False),
    Line("magnitude 98 %", SMALL, 0.02, 0, 0, in_rounds("magnitude", *FEW, 0.04, 0.02), published=False),
    Line("SNIP 98 %", LARGE, 0.02, 0.8, 0.9, snip(0.02), source=SNIP),
    Line("SNIP 99 %", LARGE, 0.01, 1.1, 0.9, snip(0.01), source=SNIP),
    Line("DNS", LARGE, 1 / 108, 0.91, 0.91, surgery(1 / 108), (4.0,), "soft weight-sharing, table 1"),
    Line("gradual magnitude", LARGE, 1 / 280, 0, 0, gradual(1 / 280), published=False),
    Line("variational dropout", LARGE, 1 / 280, 0.75, 0.80, variational(1 / 280), source="its repository"),
    Line("L-OBS", SMALL, 0.015, 2.0, 1.8, at_once("l_obs", 0.015), ("erk",), MEMORY),
    Line("magnitude at once", SMALL, 0.015, 0, 0, at_once("magnitude", 0.015), ("erk",), published=False),
    Line("OBD 92 %", LARGE, 0.08, 2.7, 1.3, in_rounds("obd", 0.4, 0.16, 0.08), source=MEMORY),
    Line("magnitude 92 %", LARGE, 0.08, 0, 0, in_rounds("magnitude", 0.4, 0.16, 0.08), published=False),
    Line("L0", LARGE, 6_150 / 430_500, 1.0, 0.9, gates, (1.0,), "9-18-65-25; dense from memory"),
    Line("L-OBS", LARGE, 0.01, 2.1, 1.3, at_once("l_obs", 0.01), ("erk",), MEMORY),
    Line("magnitude at once", LARGE, 0.01, 0, 0, at_once("magnitude", 0.01), ("erk",), published=False),
]
COMPARISONS = [
    Comparison("OBD 92 %", "magnitude 92 %", source="LeCun et al. 1990"),
    Comparison("OBD 98 %", "magnitude 98 %", source="LeCun et al. 1990"),
    Comparison("L-OBS", "magnitude at once", source="Dong et al. 2017"),
    Comparison("RigL 98 %", "SET 98 %", source="Evci et al. 2020"),
    Comparison("SET 98 %", "static 98 %", source="Evci et al. 2020"),
    Comparison("RigL 98 %", "static 98 %", source="Evci et al. 2020"),
    Comparison("gradual magnitude", "variational dropout", no_worse=True, source="Gale et al. 2019"),
    Comparison("gradual magnitude", "L0", no_worse=True, source="Gale et al. 2019"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="folder of finished pieces, made where missing")
    parser.add_argument("--only", nargs="+", default=[""], help="'lenet-300-100 SNIP', 'lenet-5', ...")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="what the store holds, without running anything")
    chosen = parser.parse_args()
    store = Store(chosen.store)
    tasks = {model: Task.of(model, "mnist") for model in (SMALL, LARGE)}
    lines = [line for line in LINES if any(full_name(line).startswith(start) for start in chosen.only)]
    if not chosen.show:
        run(store, tasks, lines, chosen.seeds, chosen)
    found = {full_name(line): measured(store, tasks[line.model], line, chosen.seeds) for line in lines}
    rows = [row for row in found.values() if row]
    if rows:
        compared = list(comparisons({row["name"]: row for row in rows}))
        print_lines(rows)
        print_comparisons(compared)
        print(keep("pruning-methods", {"seeds": chosen.seeds, "epochs": EPOCHS, "lines": rows, "compared": compared}))


def full_name(line: Line) -> str:
    return f"{line.model} {line.name}"


def run(
    store: Store, tasks: dict[str, Task], lines: Sequence[Line], seeds: Sequence[int], chosen: argparse.Namespace
) -> None:
    """Train what is missing, line by line: candidates first."""
    engine = engine_of(chosen)
    with shown() as progress:
        for line in lines:
            if len(line.candidates) > 1:
                tried = candidates(tasks[line.model], line)
                engine(store, pieces(tried), progress)
            candidate = best(store, tasks[line.model], line)
            made = [line.make(Bed(tasks[line.model], seed), candidate) for seed in seeds]
            beds = [Bed(tasks[line.model], seed).dense for seed in seeds]
            engine(store, [*beds, *pieces(made)], progress)
            print_lines([row for row in [measured(store, tasks[line.model], line, seeds)] if row])


def candidates(task: Task, line: Line) -> list[Run]:
    return [line.make(Bed(task, TUNED_ON), candidate) for candidate in line.candidates]


def best(store: Store, task: Task, line: Line) -> Any:
    """The candidate of the least validation error of those that keep no more than published, else the sparsest."""
    if len(line.candidates) == 1:
        return line.candidates[0]
    tried = candidates(task, line)
    kept = [density(store, task, line, run) for run in tried]
    errors = [store.metrics(run.last)["error_validation"] for run in tried]
    few = [place for place in range(len(tried)) if kept[place] <= line.density]
    place = min(few, key=errors.__getitem__) if few else min(range(len(tried)), key=kept.__getitem__)
    return line.candidates[place]


def density(store: Store, task: Task, line: Line, run: Run) -> float:
    """The part of all weights that is kept; what a method leaves alone is kept whole."""
    model = task.network()
    mask = Mask({**Mask.dense(model), **store.result(run.mask)})
    return effective(model, mask, task.example()).density if line.make is gates else mask.density


def measured(store: Store, task: Task, line: Line, seeds: Sequence[int]) -> dict[str, Any] | None:
    """A line as plain values; nothing where the store lacks something of it."""
    if len(line.candidates) > 1 and missing(store, pieces(candidates(task, line))):
        return None
    candidate = best(store, task, line)
    runs = [line.make(Bed(task, seed), candidate) for seed in seeds]
    dense = [Bed(task, seed).dense for seed in seeds]
    if missing(store, [*pieces(runs), *dense]):
        return None
    errors = [store.metrics(run.last)["error"] for run in runs]
    own = [store.metrics(run)["error"] for run in dense]
    lost = [a - b for a, b in zip(errors, own, strict=True)]
    kept = [density(store, task, line, run) for run in runs]
    margin = 2 * stdev(lost) / sqrt(len(lost))
    row = {
        "name": full_name(line),
        "published": {"density": line.density, "error": line.error, "dense": line.dense, "source": line.source},
        "candidates": tuned(store, task, line),
        "candidate": candidate,
        "density": kept,
        "error": errors,
        "dense": own,
        "loss": lost,
        "runs": [identity(run.last) for run in runs],
    }
    if not line.published:
        return row | {"published": None}
    fits = fmean(kept) <= line.density * 1.0001 and fmean(lost) <= line.error - line.dense + margin
    return row | {"holds": fits}


def tuned(store: Store, task: Task, line: Line) -> list[dict[str, Any]]:
    """What validation said of the candidates."""
    if len(line.candidates) == 1:
        return []
    return [
        {
            "candidate": candidate,
            "density": density(store, task, line, run),
            "error_validation": store.metrics(run.last)["error_validation"],
        }
        for candidate, run in zip(line.candidates, candidates(task, line), strict=True)
    ]


def pieces(runs: Iterable[Run]) -> list[Piece]:
    return [piece for run in runs for piece in (run.last, run.mask)]


def comparisons(rows: dict[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """What can be said of the comparisons whose two lines are there, in each network."""
    for model in (SMALL, LARGE):
        for one in COMPARISONS:
            first, second = (rows.get(f"{model} {name}") for name in (one.first, one.second))
            if first and second:
                differences = [a - b for a, b in zip(first["error"], second["error"], strict=True)]
                mean, margin = fmean(differences), 2 * stdev(differences) / sqrt(len(differences))
                statement = f"{one.first} {'no worse' if one.no_worse else 'better'} than {one.second}"
                yield {
                    "network": model,
                    "statement": statement,
                    "source": one.source,
                    "difference": mean,
                    "two_errors": margin,
                    "holds": verdict(mean, margin, one.no_worse),
                }


def verdict(difference: float, margin: float, no_worse: bool) -> str:
    """Of errors, first less second."""
    if difference > margin:
        return "no"
    return "yes" if no_worse or difference < -margin else "undecided"


def print_lines(rows: Sequence[dict[str, Any]]) -> None:
    columns = ["", "kept, published", "measured", "error, published (dense)", "measured", "own dense"]
    cells = []
    for row in rows:
        published, kept = row["published"], fmean(row["density"])
        there = ["", ""]
        if published:
            there = [f"{100 * published['density']:.2f} %", f"{published['error']:g} ({published['dense']:g})"]
        limit = f"{published['error'] - published['dense']:+.2f}" if published else ""
        margin = 2 * stdev(row["loss"]) / sqrt(len(row["loss"]))
        cells.append(
            [
                row["name"],
                there[0],
                f"{100 * kept:.2f} % ({1 / kept:.0f}x)",
                there[1],
                spread(row["error"]),
                spread(row["dense"]),
                limit,
                f"{fmean(row['loss']):+.2f} +- {margin / 2:.2f}",
                {True: "yes", False: "no"}.get(row.get("holds"), ""),
            ]
        )
    print_table([*columns, "loss, published", "measured", "holds"], cells)


def print_comparisons(found: Sequence[dict[str, Any]]) -> None:
    print_table(
        ["network", "published", "first less second, points +- two standard errors", "holds"],
        [
            [one["network"], one["statement"], f"{one['difference']:+.2f} +- {one['two_errors']:.2f}", one["holds"]]
            for one in found
        ],
    )


def spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f} +- {stdev(values):.2f}"


if __name__ == "__main__":
    main()
