r"""Methods of pruning on MNIST, LeNet-300-100 and Caffe's LeNet-5: what was published of each, beside what comes out.

    python benchmarks/pruning_methods.py --store STORE [--only NAME ...] [--seeds 0 1 2] [--show]

A line is one published figure of one method. Weights start as torch draws them, images are not augmented, LeNet-5 is
trained in bfloat16; by SGD, variational dropout and L0 by Adam. Methods that start from the dense network take about
as long again, variational dropout two and a half times as long, SNIP and its dense network two or three times as long
(`EPOCHS`); papers take several times as many epochs.
Of a line with several candidates, seed 99 is trained with each, and validation chooses; the test part is read for the
other seeds, once. Of variational dropout twice: without the retraining, whose gain was then seen on the validation
part, LeNet-5 ended at 30 %.

The rule, written before the runs: a line holds where the network keeps no more than was published, and loses, against
the dense network of its own seed, no more points on average than was published plus two standard errors of that
average. A comparison holds where its mean difference has the published sign and is two standard errors or more, or, of
"no worse", where it is not two standard errors or more on the other side; between them nothing is decided, nor (added
after the runs) where the first does worse with fewer weights. Whether the published error itself is reached, within two
standard errors, is told beside the rule: dense networks differ.
Kept weights are counted without the biases, as the papers do; they count no indices either. Of L0's groups, the
weights that lie on no path from an input to an output are gone.

Lines come in the order of `LINES`; --only takes names or beginnings of names, --show prints what the store holds of
them and runs nothing. Writes results/pruning-methods.json.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
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
    SMALL: {
        **{"dense": 20, "long": 60, "rigl": 15, "round": 2, "retrain": 10},
        **{"gradual": 20, "surgery": 20, "noise": 40, "gates": 30},
    },
    LARGE: {
        **{"dense": 5, "long": 10, "round": 1, "retrain": 3},
        **{"gradual": 7, "surgery": 6, "noise": 8, "gates": 8},
    },
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
        return self.from_the_start("dense")

    def from_the_start(self, stage: str, mask: Piece | None = None) -> Trained:
        return Trained(self.task, self.drawn, self.settings(stage), self.seed, mask=mask)

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
    """What a method ended with: the last training, the mask, and the dense network that it is measured by."""

    last: Piece
    mask: Piece
    dense: Piece


Make = Callable[[Bed, Any], Run]


@dataclass(frozen=True)
class Published:
    """The part of weights kept, the error with them and that of the dense network in percent, and where it is said."""

    density: float
    error: float
    dense: float
    source: str


@dataclass(frozen=True)
class Line:
    """A method on a network, with what was published of it; without, it is there to compare others with."""

    name: str
    model: str
    make: Make
    published: Published | None = None
    candidates: tuple[Any, ...] = (None,)

    @property
    def full_name(self) -> str:
        return f"{self.model} {self.name}"


@dataclass(frozen=True)
class Comparison:
    """`first` is said to be better than `second`, both names of lines; or no worse."""

    first: str
    second: str
    no_worse: bool = False
    source: str = ""


def snip(density: float, stage: str = "long") -> Make:
    """Lee et al. 2019: by |w dL/dw| before training, over all layers; the dense network is trained as long."""

    def make(bed: Bed, _: Any) -> Run:
        mask = Pruned(bed.task, bed.drawn, keep=density, score="taylor", scope="network")
        return Run(bed.from_the_start(stage, mask), mask, bed.from_the_start(stage))

    return make


def in_rounds(score: str, *densities: float) -> Make:
    """Prune by a score over all layers, retrain, and again: LeCun et al. 1990, Han et al. 2015."""

    def make(bed: Bed, _: Any) -> Run:
        run, mask, before = bed.dense, None, 1.0
        for density in densities:
            mask = Pruned(bed.task, run, keep=density / before, within=mask, score=score, scope="network")
            run, before = bed.tuned(run, mask, "round"), density
        assert mask is not None
        return Run(run, mask, bed.dense)

    return make


def at_once(score: str, density: float) -> Make:
    """Prune in one shot, each layer as dense as `candidate` says, and retrain; `l_obs` moves what it keeps."""

    def make(bed: Bed, scope: str) -> Run:
        if score == "l_obs":
            moved = Compensated(bed.task, bed.dense, density, scope=scope)
            return Run(bed.tuned(moved, Ended(moved), "retrain"), Ended(moved), bed.dense)
        mask = Pruned(bed.task, bed.dense, keep=density, score=score, scope=scope)
        return Run(bed.tuned(bed.dense, mask, "retrain"), mask, bed.dense)

    return make


def gradual(density: float) -> Make:
    """Zhu & Gupta 2017, over all layers, from the dense start to three quarters."""

    def make(bed: Bed, _: Any) -> Run:
        run = GraduallyPruned(
            bed.task, bed.drawn, bed.settings("gradual"), bed.seed, density=density, begin=0.1, scope="network"
        )
        return Run(run, Ended(run), bed.dense)

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
    """Molchanov et al. 2017 from the dense network, cut to the density and retrained without noise.

    LeNet-5's first convolution, of 500 weights, is kept whole.
    """

    def make(bed: Bed, _: Any) -> Run:
        large = bed.task.model == LARGE
        settings = by_adam(bed, "noise")
        rows, warm_up = len(bed.task.read().train), bed.steps(settings) // 4
        method = VariationalDropout(1 / rows, warm_up=warm_up)
        others = (density * 430_500 - 500) / 430_000 if large else density
        run = reparametrised(bed, settings, method, others, left=("conv1.weight",) if large else ())
        return Run(bed.tuned(run.last, run.mask, "retrain"), run.mask, run.dense)

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
    return Run(last, Ended(run), bed.dense)


def sparse_from_the_start(how: str, density: float) -> Make:
    """Evci et al. 2020: SGD, an Erdos-Renyi mask, moved every 100 steps in the first half, or not."""

    def make(bed: Bed, _: Any) -> Run:
        settings = bed.settings("rigl", learning_rate=0.2, weight_decay=1e-4)
        mask = Pruned(bed.task, bed.drawn, keep=density, score="chance", scope="erk", seed=bed.seed)
        if how == "static":
            return Run(Trained(bed.task, bed.drawn, settings, bed.seed, mask=mask), mask, bed.dense)
        run = Rewired(bed.task, bed.drawn, settings, bed.seed, mask=mask, method=how, every=100)
        return Run(run, Ended(run), bed.dense)

    return make


FEW, MORE = (0.5, 0.25, 0.12, 0.08), (0.04, 0.02)
FEW_OF_LARGE = (0.4, 0.16, 0.08)
SNIP, MEMORY = "Lee et al. 2019, table 1", "Lee et al. 2019, table 1; dense from memory"
VD, DNS = "the repository of its authors", "Ullrich et al. 2017, table 1"
L0 = ("266-88-33 units, from memory", "9-18-65-25 units; dense from memory")
LINES = [
    Line("SNIP 95 %", SMALL, snip(0.05), Published(0.05, 1.6, 1.7, SNIP)),
    Line("SNIP 98 %", SMALL, snip(0.02), Published(0.02, 2.4, 1.7, SNIP)),
    Line("SNIP 95 %, 20 epochs", SMALL, snip(0.05, "dense")),
    Line("SNIP 98 %, 20 epochs", SMALL, snip(0.02, "dense")),
    Line("RigL 98 %", SMALL, sparse_from_the_start("rigl", 0.02)),
    Line("SET 98 %", SMALL, sparse_from_the_start("set", 0.02)),
    Line("static 98 %", SMALL, sparse_from_the_start("static", 0.02)),
    Line("variational dropout", SMALL, variational(1 / 68), Published(1 / 68, 1.92, 1.64, VD)),
    Line("gradual magnitude", SMALL, gradual(1 / 68)),
    Line("DNS", SMALL, surgery(1 / 56), Published(1 / 56, 1.99, 2.28, DNS), (4.0, 5.0)),
    Line("L0", SMALL, gates, Published(26_642 / 266_200, 1.8, 1.6, L0[0]), (1.0, 1.5)),
    Line("OBD 92 %", SMALL, in_rounds("obd", *FEW), Published(0.08, 2.0, 1.8, MEMORY)),
    Line("magnitude 92 %", SMALL, in_rounds("magnitude", *FEW)),
    Line("OBD 98 %", SMALL, in_rounds("obd", *FEW, *MORE)),
    Line("magnitude 98 %", SMALL, in_rounds("magnitude", *FEW, *MORE)),
    Line("SNIP 98 %", LARGE, snip(0.02), Published(0.02, 0.8, 0.9, SNIP)),
    Line("SNIP 99 %", LARGE, snip(0.01), Published(0.01, 1.1, 0.9, SNIP)),
    Line("SNIP 98 %, 5 epochs", LARGE, snip(0.02, "dense")),
    Line("SNIP 99 %, 5 epochs", LARGE, snip(0.01, "dense")),
    Line("DNS", LARGE, surgery(1 / 108), Published(1 / 108, 0.91, 0.91, DNS), (4.0,)),
    Line("gradual magnitude", LARGE, gradual(1 / 280)),
    Line("variational dropout", LARGE, variational(1 / 280), Published(1 / 280, 0.75, 0.80, VD)),
    Line("L-OBS", SMALL, at_once("l_obs", 0.015), Published(0.015, 2.0, 1.8, MEMORY), ("erk",)),
    Line("magnitude at once", SMALL, at_once("magnitude", 0.015), candidates=("erk",)),
    Line("OBD 92 %", LARGE, in_rounds("obd", *FEW_OF_LARGE), Published(0.08, 2.7, 1.3, MEMORY)),
    Line("magnitude 92 %", LARGE, in_rounds("magnitude", *FEW_OF_LARGE)),
    Line("L0", LARGE, gates, Published(6_150 / 430_500, 1.0, 0.9, L0[1]), (1.0,)),
    Line("L-OBS", LARGE, at_once("l_obs", 0.01), Published(0.01, 2.1, 1.3, MEMORY), ("erk",)),
    Line("magnitude at once", LARGE, at_once("magnitude", 0.01), candidates=("erk",)),
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
    lines = [line for line in LINES if any(line.full_name.startswith(start) for start in chosen.only)]
    if not chosen.show:
        run(store, tasks, lines, chosen.seeds, chosen)
    found = {line.full_name: measured(store, tasks[line.model], line, chosen.seeds) for line in lines}
    rows = [row for row in found.values() if row]
    if rows:
        compared = list(comparisons({row["name"]: row for row in rows}))
        print_lines(rows)
        print_comparisons(compared)
        print(keep("pruning-methods", {"seeds": chosen.seeds, "epochs": EPOCHS, "lines": rows, "compared": compared}))


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
            engine(store, pieces(made), progress)
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
    most = line.published.density if line.published else 1.0
    few = [place for place in range(len(tried)) if kept[place] <= most]
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
    if missing(store, pieces(runs)):
        return None
    errors = [store.metrics(run.last)["error"] for run in runs]
    own = [store.metrics(run.dense)["error"] for run in runs]
    lost = [a - b for a, b in zip(errors, own, strict=True)]
    kept = [density(store, task, line, run) for run in runs]
    return {
        "name": line.full_name,
        "published": asdict(line.published) if line.published else None,
        "candidates": tuned(store, task, line),
        "candidate": candidate,
        "density": kept,
        "error": errors,
        "dense": own,
        "loss": lost,
        "runs": [identity(run.last) for run in runs],
        "holds": holds(line.published, kept, lost) if line.published else None,
        "reached": fmean(errors) <= line.published.error + 2 * standard_error(errors) if line.published else None,
    }


def holds(published: Published, kept: Sequence[float], lost: Sequence[float]) -> bool:
    """At the published density, whole weights counted, and within the published loss and two standard errors."""
    few = fmean(kept) <= published.density * 1.0001
    return few and fmean(lost) <= published.error - published.dense + 2 * standard_error(lost)


def standard_error(values: Sequence[float]) -> float:
    return stdev(values) / sqrt(len(values))


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
    return [piece for run in runs for piece in (run.dense, run.last, run.mask)]


def comparisons(rows: dict[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """What can be said of the comparisons whose two lines are there, in each network."""
    for model in (SMALL, LARGE):
        for one in COMPARISONS:
            first, second = (rows.get(f"{model} {name}") for name in (one.first, one.second))
            if first and second:
                differences = [a - b for a, b in zip(first["error"], second["error"], strict=True)]
                mean, margin = fmean(differences), 2 * standard_error(differences)
                found = verdict(mean, margin, one.no_worse)
                fewer = fmean(first["density"]) < 0.999 * fmean(second["density"])
                statement = f"{one.first} {'no worse' if one.no_worse else 'better'} than {one.second}"
                yield {
                    "network": model,
                    "statement": statement,
                    "source": one.source,
                    "difference": mean,
                    "two_errors": margin,
                    "holds": "undecided" if found == "no" and fewer else found,
                }


def verdict(difference: float, margin: float, no_worse: bool) -> str:
    """Of errors, first less second."""
    if difference > margin:
        return "no"
    return "yes" if no_worse or difference < -margin else "undecided"


def print_lines(rows: Sequence[dict[str, Any]]) -> None:
    columns = ["", "kept, published", "measured", "error, published (dense)", "measured", "own dense"]
    columns += ["loss, published", "measured", "holds", "error reached"]
    print_table(columns, [cells(row) for row in rows])


def cells(row: dict[str, Any]) -> list[str]:
    kept, said = fmean(row["density"]), row["published"]
    there = ["", "", ""]
    if said:
        loss = said["error"] - said["dense"]
        there = [f"{100 * said['density']:.2f} %", f"{said['error']:g} ({said['dense']:g})", f"{loss:+.2f}"]
    return [
        row["name"],
        there[0],
        f"{100 * kept:.2f} % ({1 / kept:.0f}x)",
        there[1],
        spread(row["error"]),
        spread(row["dense"]),
        there[2],
        f"{fmean(row['loss']):+.2f} +- {standard_error(row['loss']):.2f}",
        *({True: "yes", False: "no", None: ""}[row[fact]] for fact in ("holds", "reached")),
    ]


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
