"""What the benchmarks that run experiments have in common."""

import argparse
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from prunus.laboratory import Engine, Task, pool, serial
from prunus.recipe.replicates import Difference
from prunus.recipe.tables import Row
from prunus.settings import Settings


def add_options(parser: argparse.ArgumentParser, **epochs: int) -> None:
    """The options of all of them; `epochs=` or `steps=` names how long training takes, and the default."""
    ((unit, many),) = epochs.items()
    parser.add_argument("--store", type=Path, required=True, help="folder of finished pieces, made where missing")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(f"--{unit}", type=int, default=many)
    parser.add_argument("--processes", type=int, default=1)


def engine_of(options: argparse.Namespace) -> Engine:
    return serial if options.processes == 1 else pool(options.processes)


def network() -> str:
    """The network of networks.py, named from here: a piece's identity holds the name."""
    return f"{os.path.relpath(Path(__file__).with_name('networks.py'))}:conv_norm"


def settings_of(options: argparse.Namespace) -> Settings:
    """SGD with a rate of 0.1 that falls twice to a tenth, as in the papers on ResNets and VGGs, which augment too."""
    return Settings(
        epochs=options.epochs,
        optimizer="sgd",
        learning_rate=0.1,
        weight_decay=1e-4,
        decay="steps",
        augment=options.model.startswith(("resnet", "vgg")),
    )


def task_of(model: str, data: str) -> Task:
    """Weights start as He et al. 2015 have it, in ResNets and VGGs their own way, which is the same."""
    return Task.of(model, data, start="usual" if model.startswith(("resnet", "vgg")) else "he")


def contents(path: Path) -> dict[str, str]:
    """The hash of a file, or of all files of a store but those that say when and how fast they were made."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(files)
        if file.name != "about.json"
    }


def verdict(difference: Difference, least: float) -> str:
    """Whether the difference is `least` or more, if that is beyond two standard errors."""
    if abs(difference.mean - least) <= 2 * difference.error:
        return "not told apart"
    return "holds" if difference.mean > least else "does not hold"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """As Markdown."""
    for row in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(row)} |")
    print()


def print_rows(rows: Sequence[Row]) -> None:
    """As Markdown: mean +- sample standard deviation, or the value that all seeds have."""
    print_table(["", *rows[0].figures], [[row.name, *map(_text, row.figures.values())] for row in rows])


def _text(values: Sequence[float]) -> str:
    if len(set(values)) == 1:
        return f"{values[0]:,.6g}"
    digits = 0 if fmean(values) > 1000 else 2
    return f"{fmean(values):,.{digits}f} +- {stdev(values):.{digits}f}"
