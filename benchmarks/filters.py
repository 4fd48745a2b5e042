"""Filters removed by Li, Wen, He or by chance, fine-tuned; the small network from scratch; before and after `shrink`.

    python benchmarks/filters.py train --store STORE [--networks resnet-20 vgg-19] [--ways Li He random] [--seeds 0 1 2]
    python benchmarks/filters.py time --store STORE [--rounds 15]

`train`: on CIFAR-10, a network loses the same part of the filters of each layer that one other layer alone reads (of
all layers of VGG, of the first in each block of ResNet), so that half of the multiplications or so are left: those of
least L1 norm (Li et al. 2017), those of least norm after training with a group lasso (Wen et al. 2016), those that
LASSO does not choose, the next layer fitted anew (He et al. 2017), or any. Then a third of the dense network's steps at
its last learning rate. As all layers are equally dense, all methods leave one architecture, which Scratch-E trains for
as many steps as the dense network had, and Scratch-B for as many as cost the same (Liu et al. 2019). It takes an hour
of a core; what the store holds is not trained again. The dense networks are those of `prunus compare --rewind` a tenth
of the steps, with these settings.
`time`: a call on one thread, of the network dense, masked and shrunk, in the same rounds in random order. Quartiles.
The last two write results/filters-*.json.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import torch

from experiment import print_table, verdict
from machine import keep
from prunus.batchnorm import recalibrate
from prunus.evaluation import evaluate
from prunus.laboratory import Drawn, Lassoed, Narrowed, Redrawn, Rewound, Selected, Task, Trained, serial, size
from prunus.pattern import channel
from prunus.progress import shown
from prunus.pruning import prune
from prunus.recipe.bench import race
from prunus.recipe.lottery_ticket import at_last_rate
from prunus.recipe.methods import Place
from prunus.recipe.replicates import Difference, Measured, difference
from prunus.recipe.rethinking import same_budget
from prunus.recipe.usual import ticket_settings
from prunus.scope import tensor, together
from prunus.score import magnitude
from prunus.settings import Settings
from prunus.shrinking import alone, shrink, spread, wiring
from prunus.snapshot import Snapshot
from prunus.store import Piece, Store, identity
from prunus.ticket.noise import quiet

FINE_TUNED = ("Li", "He", "random", "Wen")
SCRATCH = ("scratch-E", "scratch-B")
WAYS = (*FINE_TUNED, *SCRATCH)
METHODS = ("Li", "Wen", "He")
BATCHES = (1, 64)


@dataclass(frozen=True)
class Case:
    """A network, its training steps, and the part of the filters that stays."""

    title: str
    model: str
    steps: int
    density: float

    @property
    def task(self) -> Task:
        """The network on CIFAR-10."""
        return Task.of(self.model, "cifar10")

    @property
    def settings(self) -> Settings:
        """As in the papers on CIFAR, but for the steps and the batch."""
        usual = ticket_settings("resnet-20")
        return replace(usual, epochs=None, steps=self.steps, batch=64, precision="bf16-mixed")

    @property
    def strength(self) -> float:
        """Of the group lasso: filters, sqrt(2) long when drawn, are empty at the end where the loss holds none."""
        settings = self.settings
        rates = sum(settings.share_of_rate(step, self.steps) for step in range(self.steps))
        return round(2**0.5 * (1 - settings.momentum) / (settings.learning_rate * rates), 4)

    @property
    def fine_tuning(self) -> Settings:
        """A third of the steps at the last learning rate."""
        return replace(at_last_rate(self.settings), steps=self.steps // 3)


CASES = {
    "resnet-20": Case("ResNet-20", "resnet-20", 1500, 0.5),
    "vgg-19": Case(
        "VGG-19, a quarter as wide",
        f"{os.path.relpath(Path(__file__).with_name('widths.py'))}:vgg_19_quarter",
        600,
        0.7,
    ),
}


@dataclass(frozen=True)
class Row:
    """A way to a network: its figures over the seeds, and its runs."""

    name: str
    parameters: int
    multiplications: int
    steps: int
    """All that it stands on, the dense network's too."""
    training: float
    """Multiplications of all these steps, in trainings of the dense network."""
    before: tuple[float, ...]
    """% right on the validation part before fine-tuning, or at the end where there is none."""
    renewed: tuple[float, ...]
    """The same where BatchNorm's statistics are taken anew, on the rows that He's layers are fitted on."""
    right: tuple[float, ...]
    """% right on the test part at the end."""
    differences: tuple[float, ...]
    """Of the shrunk network's outputs from the masked one's, in parts of the largest."""
    runs: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("train", "time"):
        verb = verbs.add_parser(name)
        verb.add_argument("--store", type=Path, required=True)
        verb.add_argument("--networks", nargs="+", choices=CASES, default=list(CASES))
        verb.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
        verb.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
        verb.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    {"train": train, "time": time}[options.verb](options)


def lassoed(case: Case, seed: int) -> Lassoed:
    return Lassoed(case.task, Drawn(case.task, seed), case.settings, seed, case.strength, alone=True)


def dense(case: Case, seed: int) -> Trained:
    place = Place(case.task, case.settings, case.steps, (1.0,), 1.0, seed, rewind=case.steps // 10)
    return place.dense


def small(case: Case, seed: int) -> dict[str, Piece]:
    """What each method leaves of the filters."""
    task, density, whole = case.task, case.density, dense(case, seed)
    return {
        "Li": Narrowed(task, whole, density, alone=True),
        "Wen": Narrowed(task, lassoed(case, seed), density, alone=True),
        "He": Selected(task, whole, density),
        "random": Narrowed(task, whole, density, score="chance", seed=seed, alone=True),
    }


def retrained(case: Case, seed: int, saving: float) -> dict[str, Trained]:
    """The last training of each way."""
    task, left = case.task, small(case, seed)
    fresh = Redrawn(task, left["Li"], seed + 1_000_000)
    tuned = {name: Trained(task, Rewound(one, Drawn(task, seed)), case.fine_tuning, seed) for name, one in left.items()}
    lengths = dict(zip(SCRATCH, (case.settings, same_budget(case.settings, saving)), strict=True))
    return tuned | {name: Trained(task, fresh, settings, seed) for name, settings in lengths.items()}


def train(options: argparse.Namespace) -> None:
    for name in options.networks:
        case, store = CASES[name], Store(options.store)
        table = measured(case, store, options.seeds, options.ways)
        print(f"\n{case.title}, {100 * case.density:g} % of the filters kept\n")
        show(table)
        claims = statements(table)
        print_table(["published", "measured, points", ""], claims)
        plan = {"network": asdict(case), "settings": asdict(case.settings), "fine_tuning": asdict(case.fine_tuning)}
        found = {"seeds": options.seeds, "rows": [asdict(row) for row in table.values()]}
        if "Wen" in options.ways:
            left = [store.metrics(lassoed(case, seed))["density"] for seed in options.seeds]
            found |= {"strength of the group lasso": case.strength, "density that it left": left}
        keep(f"filters-train-{name}", {**plan, **found, "claims": claims})


def measured(case: Case, store: Store, seeds: Sequence[int], ways: Sequence[str]) -> dict[str, Row]:
    """Train what the store lacks of these ways; the rows by name."""
    task, named = case.task, {*ways, "Li"}  # whose architecture is that of scratch
    left = {seed: {name: one for name, one in small(case, seed).items() if name in named} for seed in seeds}
    with shown() as progress:
        serial(store, [piece for one in left.values() for piece in one.values()], progress)
        architectures = {shapes(store, piece) for one in left.values() for piece in one.values()}
        if len(architectures) > 1:
            raise SystemExit(f"the methods leave {len(architectures)} architectures, expected one.")
        whole, part = (size(task, store.result(piece)) for piece in (dense(case, seeds[0]), left[seeds[0]]["Li"]))
        saving = whole.multiplications / part.multiplications
        runs = {seed: retrained(case, seed, saving) for seed in seeds}
        serial(store, [one[way] for one in runs.values() for way in ways], progress)

    def row(name: str, trainings: Sequence[Piece], made: Sequence[Piece] = (), steps: int = 0, work: float = 0) -> Row:
        metrics = [store.metrics(run) for run in trainings]
        its = part if name in (*FINE_TUNED, *SCRATCH) else whole
        return Row(
            name,
            its.parameters,
            its.multiplications,
            steps,
            work,
            tuple(100 - (one["curve"][0][1] if made else one["error_validation"]) for one in metrics),
            tuple(renewed(task, store.result(piece)) for piece in made),
            tuple(100 - one["error"] for one in metrics),
            tuple(store.metrics(piece)["difference"] for piece in made),
            tuple(map(identity, trainings)),
        )

    steps, more = case.steps, case.fine_tuning.steps or 0
    table = {"dense": row("dense", [dense(case, seed) for seed in seeds], steps=steps, work=1)}
    if "Wen" in ways:
        table["group lasso"] = row("group lasso", [lassoed(case, seed) for seed in seeds], steps=steps, work=1)
    for name in filter(ways.__contains__, FINE_TUNED):
        pieces = [left[seed][name] for seed in seeds]
        work = 1 + more / steps / saving
        table[name] = row(name, [runs[seed][name] for seed in seeds], pieces, steps + more, work)
    for name in filter(ways.__contains__, SCRATCH):
        own = runs[seeds[0]][name].settings.steps or 0
        table[name] = row(name, [runs[seed][name] for seed in seeds], steps=own, work=own / steps / saving)
    return table


def renewed(task: Task, found: Snapshot) -> float:
    """% right on the validation part, with statistics of BatchNorm taken anew."""
    with quiet():
        model = task.network_like(found)
    found.restore_weights(model)
    recalibrate(model, [inputs for inputs, _ in task.read().train.batches(256, most=4)])
    return 100 - evaluate(model, task.read().validation).error


def shapes(store: Store, piece: Piece) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, tuple(weight.shape)) for name, weight in sorted(store.result(piece).weights.items()))


def show(table: Mapping[str, Row]) -> None:
    lines = []
    for name, row in table.items():
        apart = less(row.right, table["random"].right) if name != "random" and "random" in table else None
        lines.append(
            [
                name,
                f"{row.parameters:,}",
                f"{row.multiplications / 1e6:.1f} M",
                f"{row.steps:,}",
                f"{row.training:.2f}",
                around(row.before),
                around(row.renewed) if row.renewed else "",
                around(row.right),
                f"{apart.mean:+.2f} ± {apart.error:.2f}" if apart else "",
                f"{max(row.differences):.0e}" if row.differences else "",
            ]
        )
    print_table(
        [
            "",
            "parameters",
            "multiplications",
            "steps",
            "training",
            "validation, %",
            "statistics anew, %",
            "test, %",
            "less random",
            "masked - shrunk",
        ],
        lines,
    )


def around(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f} ± {stdev(values):.2f}"


def less(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Of each seed."""
    return difference([Measured(tuple(one), ())], [Measured(tuple(other), ())])


def statements(table: Mapping[str, Row]) -> list[tuple[str, str, str]]:
    """What was published, and what is so here: means of the differences within a seed, and their standard errors."""
    right = {name: row.right for name, row in table.items()}
    before = {name: row.before for name, row in table.items()}
    anew = {name: row.renewed or row.before for name, row in table.items()}
    claims = [
        ("{}, fine-tuned, within half a point of {}", right, "Li", "dense", -0.5),
        ("{} before fine-tuning, within a point of {}", before, "Wen", "group lasso", -1.0),
        ("{} before fine-tuning, better than {}", before, "He", "Li", 0.0),
        ("{} with statistics anew, within a point of {}", anew, "Wen", "group lasso", -1.0),
        ("{} with statistics anew, better than {}", anew, "He", "Li", 0.0),
        ("{} with statistics anew, better than {}", anew, "Li", "random", 0.0),
        ("{}, fine-tuned, within a point of {}", right, "He", "dense", -1.0),
        *(("{}, fine-tuned, better than {}", right, name, "random", 0.0) for name in METHODS),
        *(("{} no worse than {}", right, way, name, 0.0) for way in SCRATCH for name in METHODS),
    ]
    found = [
        (claim.format(one, other), less(figures[one], figures[other]), least)
        for claim, figures, one, other, least in claims
        if {one, other} <= table.keys()
    ]
    return [(claim, f"{apart.mean:+.2f} ± {apart.error:.2f}", verdict(apart, least)) for claim, apart, least in found]


def time(options: argparse.Namespace) -> None:
    """Li's filters of the first seed's network: all methods leave the same architecture."""
    store = Store(options.store)
    for name in options.networks:
        case, found = CASES[name], []
        task, trained = case.task, store.result(dense(case, options.seeds[0]))
        with quiet():
            whole = task.network()
        trained.restore_weights(whole)
        example = task.example()
        channels = wiring(whole, example=example)
        scope = together(alone(channels).outputs, tensor)
        kept = prune(whole, magnitude, case.density, pattern=channel(0), scope=scope)
        mask = spread(kept, channels)
        masked = deepcopy(whole)
        mask.apply_to(masked)
        networks = {"dense": whole, "masked": masked, "shrunk": shrink(whole, mask, example=example)}
        for batch in BATCHES:
            inputs, _ = next(task.read().train.batches(batch, most=1))
            speeds = race(
                {n: model.requires_grad_(False) for n, model in networks.items()}, inputs, rounds=options.rounds
            )
            found += [{"batch": batch, "way": way, **asdict(speed)} for way, speed in speeds.items()]
        keep(f"filters-time-{name}", {"network": asdict(case), "rounds": options.rounds, "found": found})


if __name__ == "__main__":
    main()
