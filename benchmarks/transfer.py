"""Tickets of LeNet-300-100 from one half of MNIST's digits to the other, and from one optimizer to the other.

    python benchmarks/transfer.py --store FOLDER [--parts FOLDER] [--seeds 0 1 2] [--steps 6000] [--rounds 6]

The halves, digits 0 to 4 and 5 to 9, are written once as data folders in hub layout, by default beside the store. The
whole should take about 20 minutes on a core; what the store holds already is not trained again. Writes
results/transfer.json, prints a table for each transfer, and leaves studies in the store for `prunus report`.
"""

import argparse
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from experiment import add_options, engine_of, print_rows
from machine import keep
from prunus.data import Data, Split, load
from prunus.laboratory import Task
from prunus.progress import shown
from prunus.recipe.lottery_ticket import Hunt
from prunus.recipe.transfer import Plan, transfer
from prunus.recipe.usual import ticket_task
from prunus.settings import Settings
from prunus.store import Store

MODEL = "lenet-300-100"
HALVES = {"first": (0, 1, 2, 3, 4), "second": (5, 6, 7, 8, 9)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser, steps=6000)
    parser.add_argument("--parts", type=Path, help="folder for the two halves of the data")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--keep", type=float, default=0.6, help="part of the weights that a round keeps")
    parser.add_argument("--rewind-step", type=int, default=450, help="about an epoch of a half")
    options = parser.parse_args()
    adam = Settings(steps=options.steps, batch=60, learning_rate=1.2e-3)
    sgd = Settings(steps=options.steps, batch=60, optimizer="sgd", learning_rate=0.05)
    whole = ticket_task(MODEL, options.data)
    first, second = halves(load(options.data), options.parts or options.store.with_name(f"{options.store.name}-data"))
    cases = {
        "digits 0-4 to 5-9": (first, adam, second, adam),
        "digits 5-9 to 0-4": (second, adam, first, adam),
        "sgd to adam": (whole, sgd, whole, adam),
        "adam to sgd": (whole, adam, whole, sgd),
    }
    found = {}
    for name, (source, source_settings, target, settings) in cases.items():
        hunt = Hunt(
            source,
            source_settings,
            options.rounds,
            options.keep,
            keeps=(("fc3.weight", 1.0),),
            step=options.rewind_step,
            seeds=tuple(options.seeds),
        )
        with shown() as progress:
            rows = transfer(Plan(hunt, target, settings), Store(options.store), engine_of(options), progress)
        print(f"\n{name}\n")
        print_rows(rows)
        found[name] = [asdict(row) for row in rows]
    about = {"model": MODEL, "adam": asdict(adam), "sgd": asdict(sgd), "seeds": options.seeds}
    hunted = {"rounds": options.rounds, "keep": options.keep, "rewind_step": options.rewind_step}
    keep("transfer", {**about, **hunted, "found": found})


def halves(data: Data, folder: Path) -> list[Task]:
    """Tasks of the two halves, each with the training, validation and test rows that the whole has."""
    tasks = []
    for name, digits in HALVES.items():
        for part, split in {"train": data.train, "validation": data.validation, "test": data.test()}.items():
            path = folder / name / f"{part}.parquet"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                write(split, digits, path)
        tasks.append(ticket_task(MODEL, str(folder / name)))
    return tasks


def write(split: Split, digits: Sequence[int], path: Path) -> None:
    """The rows of `split` whose labels are `digits`, as PNG bytes, labelled from 0 on."""
    from datasets import ClassLabel, Dataset, Features, Image

    chosen = torch.isin(split.labels, torch.tensor(digits))
    columns = {
        "image": [{"bytes": png(image), "path": None} for image in split.inputs[chosen]],
        "label": [digits.index(label) for label in split.labels[chosen].tolist()],
    }
    features = Features({"image": Image(), "label": ClassLabel(names=[str(digit) for digit in digits])})
    temporary = path.with_name(f".{path.name}")
    Dataset.from_dict(columns, features).to_parquet(temporary)
    temporary.replace(path)


def png(image: torch.Tensor) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[0].numpy()).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
