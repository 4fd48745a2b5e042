"""What holding a mask costs: a step of training and of evaluation beside the dense one, in pairs.

    python benchmarks/hold.py [--rounds 200] [--threads 2]

Each round times one dense step, one held by `prunus.hold` and one under `torch.nn.utils.prune`, in random
order, so that whatever else the machine does meets all three alike; the ratio to the dense step is taken
within the round. Prints a table and writes `benchmarks/results/hold.json`.
"""

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from machine import keep
from prunus.holding import hold
from prunus.mask import Mask
from prunus.models import build

RESULTS = Path(__file__).parent / "results" / "hold.json"
DENSITY = 0.1
SEED = 0
SHAPES = {"lenet-300-100": (1, 28, 28), "resnet-20": (3, 32, 32)}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-4, momentum=0.9, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-6, fused=True),
    "adam, unfused": lambda p: torch.optim.Adam(p, lr=1e-6),
}
CASES = [
    *(("lenet-300-100", optimizer, batch) for optimizer in OPTIMIZERS for batch in (16, 128, 512)),
    *(("resnet-20", "sgd", batch) for batch in (16, 128, 512)),
]

Step = Callable[[], object]


def masked(model: nn.Module) -> Mask:
    torch.manual_seed(SEED)
    return Mask({name: torch.rand(kept.shape) < DENSITY for name, kept in Mask.dense(model).items()})


def steps(name: str, optimizer_name: str, way: str, images: Tensor, labels: Tensor) -> dict[str, Step]:
    """A training step and an evaluation of a fresh network, pruned in one of three ways."""
    model = build(name, seed=SEED)
    mask = masked(model)
    if way == "torch.nn.utils.prune":
        for weight_name, kept in mask.items():
            module = model.get_submodule(weight_name.rpartition(".")[0])
            torch_prune.custom_from_mask(module, "weight", kept)
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    if way == "hold":
        hold(optimizer, model, mask)

    def train() -> None:
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    @torch.no_grad()
    def evaluate() -> Tensor:
        model.eval()
        return model(images)

    return {"train": train, "eval": evaluate}


def seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(name: str, optimizer: str, batch: int, rounds: int) -> list[dict[str, object]]:
    """One row for training and one for evaluation: medians, and quartiles of the ratios."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(batch, *SHAPES[name], generator=generator)
    labels = torch.randint(0, 10, (batch,), generator=generator)
    ways = ["dense", "hold", "torch.nn.utils.prune"]
    made = {way: steps(name, optimizer, way, images, labels) for way in ways}
    order = random.Random(SEED)
    rows = []
    for phase in ("train", "eval"):
        times: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds + 5):
            for way in order.sample(ways, len(ways)):
                taken = seconds(made[way][phase])
                if number >= 5:  # the first ones allocate
                    times[way].append(taken)
        dense = np.array(times["dense"])
        row: dict[str, object] = {"model": name, "optimizer": optimizer, "batch": batch, "phase": phase}
        row["dense_milliseconds"] = round(float(np.median(dense)) * 1e3, 3)
        for way in ways[1:]:
            ratios = np.array(times[way]) / dense
            row[way] = {
                "ratio": round(float(np.median(ratios)), 3),
                "quartiles": [round(float(q), 3) for q in np.quantile(ratios, [0.25, 0.75])],
                "ratio_of_fastest": round(min(times[way]) / float(dense.min()), 3),
            }
        rows.append(row)
    return rows


def shown(row: dict[str, object]) -> str:
    def ratio(way: str) -> str:
        entry = row[way]
        return f"{entry['ratio']:6.3f} [{entry['quartiles'][0]:.2f}, {entry['quartiles'][1]:.2f}]"

    return (
        f"{row['model']:14} {row['optimizer']:14} {row['batch']:5} {row['phase']:6}"
        f"{row['dense_milliseconds']:10.3f}   {ratio('hold'):22} {ratio('torch.nn.utils.prune')}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="rounds per case; fewer of ResNet-20 at large batches")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'model':14} {'optimizer':14} {'batch':>5} {'phase':6}{'dense, ms':>10}   {'x with hold':22} x with prune")
    rows = []
    for name, optimizer, batch in CASES:
        rounds = options.rounds if name == "lenet-300-100" else max(15, options.rounds * 16 // batch)
        for row in measure(name, optimizer, batch, rounds):
            print(shown(row), flush=True)
            rows.append(row)
    print(keep("hold", {"seed": SEED, "density": DENSITY, "rounds": options.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
