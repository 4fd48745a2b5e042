"""Finished pieces that took no training: what a laboratory would have left in a store, with made-up numbers."""

from dataclasses import asdict, dataclass
from math import exp

import torch

from prunus.mask import Mask
from prunus.store import Bench, Outcome, Piece, Store, identity

SIDE, UNITS = 4, 6
CONTROLS = ("reinit", "random", "one-shot")


@dataclass(frozen=True)
class Task:
    model: str = "lenet-300-100"
    data: str = "digits"


@dataclass(frozen=True, eq=False)
class Drawn:
    task: Task
    seed: int

    def make(self, bench: Bench) -> Outcome:
        return Outcome()


@dataclass(frozen=True, eq=False)
class Trained:
    start: Piece
    seed: int
    error: float
    mask: Piece | None = None
    note: str = ""

    def make(self, bench: Bench) -> Outcome:
        curve = [[step, self.error + 80 * exp(-step / 100), 2 * exp(-step / 100)] for step in (0, 50, 100, 300, 600)]
        stop = {"step": 100 + int(40 * self.error), "error_validation": 3.0, "loss_validation": 0.1}
        metrics = {"steps": 600, "curve": curve, "error_validation": curve[-1][1], "error": self.error}
        return Outcome(None, metrics | {"early_stop": stop | {"error": self.error + 0.5}})


@dataclass(frozen=True, eq=False)
class Pruned:
    trained: Piece
    kept: int
    seed: int
    score: str = "magnitude"

    def make(self, bench: Bench) -> Outcome:
        generator = torch.Generator().manual_seed(self.seed)
        first = torch.rand(UNITS, SIDE * SIDE, generator=generator).argsort(1) < self.kept
        mask = Mask({"fc1.weight": first, "fc2.weight": torch.arange(20).reshape(2, 10) < self.kept})
        return Outcome(mask, {"density": mask.density, "densities": mask.densities()})


@dataclass(frozen=True, eq=False)
class Connected:
    first: Piece
    second: Piece
    height: float

    def make(self, bench: Bench) -> Outcome:
        parts = [0.0, 0.25, 0.5, 0.75, 1.0]
        errors = {
            split: [end + 4 * self.height * there * (1 - there) for there in parts]
            for split, end in (("train", 0.5), ("test", 2.0))
        }
        barrier = {"train": self.height, "test": self.height}
        return Outcome(None, {"parts": parts, "errors": errors, "distance": 7.5, "barrier": barrier})


def made(store: Store, piece: Piece) -> str:
    """The identity of `piece`, which is in the store now."""
    store.make(piece)
    return identity(piece)


def keep_tickets(store: Store, title: str = "lenet-300-100 on digits", *, seeds=(0, 1, 2), **settings) -> dict:
    """A study of four rounds; `settings` go into its hunt."""
    drawn = [Drawn(Task(), seed) for seed in seeds]
    rounds = []
    for number, kept in enumerate((None, 12, 8, 2)):
        runs, masks, controls = [], [], {name: [] for name in CONTROLS if kept}
        for start in drawn:
            made(store, start)
            mask = Pruned(start, kept, start.seed) if kept else None
            if mask:
                masks.append(made(store, mask))
            runs.append(made(store, Trained(start, start.seed, 2 + 0.25 * number + 0.125 * start.seed, mask)))
            for place, name in enumerate(controls, 1):
                control = Trained(start, start.seed, 2 + 4.0 * place * number + start.seed, mask, name)
                controls[name].append(made(store, control))
        rounds.append({"round": number, "runs": runs, "masks": masks, "controls": controls})
    study = {
        "kind": "tickets",
        "title": title,
        "hunt": {"task": asdict(Task()), "rounds": 3, "seeds": list(seeds)} | settings,
        "rounds": rounds,
    }
    store.keep_study(study)
    return study


def keep_connection(store: Store, title: str = "lenet-300-100 on digits") -> dict:
    """A study of twins that part at three steps, dense and sparse, two replicates."""
    points = []
    for step, height in ((0, 20.0), (100, 4.0), (1000, 0.5)):
        for density in (1.0, 0.25):
            for replicate in (0, 1):
                twins = [Trained(Drawn(Task(), replicate), twin, 2.0, note=f"{step} {density}") for twin in (10, 11)]
                for piece in (Drawn(Task(), replicate), *twins):
                    store.make(piece)
                path = made(store, Connected(*twins, height + replicate + density))
                runs = [identity(twin) for twin in twins]
                points.append({"step": step, "density": density, "runs": runs, "path": path, "replicate": replicate})
    study = {"kind": "connection", "title": title, "points": points}
    store.keep_study(study)
    return study


def keep_table(store: Store, title: str = "Sanity checks") -> dict:
    """A table with all kinds of cells."""
    run = made(store, Drawn(Task(), 0))
    study = {
        "kind": "table",
        "title": title,
        "columns": ["method", "as is", "shuffled"],
        "rows": [["magnitude", {"runs": [run], "mean": 97.25, "spread": 0.125}, 96], ["snip", 95.123, "not run"]],
        "note": "Percent right on test.",
    }
    store.keep_study(study)
    return study


def keep_charts(store: Store, title: str = "Errors") -> dict:
    """A chart of a line over three runs and one that was calculated."""
    runs = [made(store, Drawn(Task(), seed)) for seed in (0, 1, 2)]
    lines = [
        {"name": "measured", "runs": runs, "points": [[4, [0.25, 0.5, 0.125]], [8, [0.01, 0.02, 0.03]]]},
        {"name": "proven", "runs": [], "points": [[4, [0.75]], [8, [0.075]], [100, [1e-8]]]},
    ]
    chart = {"title": "Error against items", "note": "Caption.", "x": "items", "y": "error", "lines": lines}
    study = {"kind": "charts", "title": title, "note": "Lead.", "charts": [chart]}
    store.keep_study(study)
    return study
