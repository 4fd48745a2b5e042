"""Tables 2 and 3 of Deep Compression, cell by cell: LeNets at the published densities and bit widths, on MNIST.

    prunus train lenet-5 --data mnist -o teacher.safetensors
    python benchmarks/han_tables.py lenet-300-100 --seeds 0 1 2 [--budget 0.25] [--teacher teacher.safetensors]

Writes results/han-tables-MODEL.json and prints the table: published / measured (mean over seeds).
"""

import argparse
import statistics
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from machine import keep
from prunus import loading, models
from prunus.data import load
from prunus.progress import shown
from prunus.recipe import deep_compression
from prunus.recipe.storage import measured_row
from prunus.recipe.usual import usual_plan

# kept %, weight bits P+Q, P+Q+H, index bits P+Q, P+Q+H, rate % P+Q, P+Q+H
PUBLISHED = {
    "lenet-300-100": {
        "fc1.weight": (8, 6, 4.4, 5, 3.7, 3.1, 2.32),
        "fc2.weight": (9, 6, 4.4, 5, 4.3, 3.8, 3.04),
        "fc3.weight": (26, 6, 4.3, 5, 3.2, 15.7, 12.70),
    },
    "lenet-5": {
        "conv1.weight": (66, 8, 7.2, 5, 1.5, 78.5, 67.45),
        "conv2.weight": (12, 8, 7.2, 5, 3.9, 6.0, 5.28),
        "fc1.weight": (8, 5, 4.5, 5, 4.5, 2.7, 2.45),
        "fc2.weight": (19, 5, 5.2, 5, 3.7, 6.9, 6.13),
    },
}
TOTALS = {"lenet-300-100": "40x, error 1.64 -> 1.58 %", "lenet-5": "39x, error 0.80 -> 0.74 %"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=PUBLISHED)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", type=float, default=1.0)
    parser.add_argument("--retraining", type=float, default=1.0, help="times the usual epochs after pruning")
    parser.add_argument("--temperature", type=float, default=2.0, help="of distillation; 2 did best on validation here")
    parser.add_argument("--teacher", type=Path, help="weights of a built-in network to learn from instead of the dense")
    options = parser.parse_args()
    teacher = loading.load(options.teacher) if options.teacher else None
    table, data = PUBLISHED[options.model], load("mnist")
    usual = usual_plan(options.model).scaled(options.budget)
    plan = replace(
        usual,
        retrain=usual.scaled(options.retraining).retrain,
        temperature=options.temperature,
        densities={name: row[0] / 100 for name, row in table.items()},
        layer_bits={name: row[1] for name, row in table.items()},
        index_bits=5,
    )
    runs = []
    for seed in options.seeds:
        network = models.build(options.model, data, seed=seed)
        with tempfile.TemporaryDirectory() as folder, shown() as progress:
            result = deep_compression(
                network,
                data,
                Path(folder) / "out.prunus",
                plan=plan,
                seed=seed,
                teacher=teacher,
                progress=progress,
            )
        rows = {name: asdict(measured_row(result.quantised[name], 5)) for name in table}
        figures = (
            "density",
            "ratio",
            "file_bytes",
            "error_dense",
            "error",
            "error_reloaded",
            "error_validation",
            "seconds",
        )
        whole = {name: getattr(result, name) for name in figures}
        pruned = next(stage.error for stage in result.stages if stage.name == "pruned")
        runs.append({"seed": seed, **whole, "error_pruned": pruned, "rows": rows})
    chosen = {name: getattr(options, name) for name in ("budget", "retraining", "temperature")}
    chosen["teacher"] = loading.described(options.teacher) if options.teacher else None
    keep(f"han-tables-{options.model}", {**chosen, "runs": runs})
    print_table(options.model, runs)


def print_table(model: str, runs: list[dict]) -> None:
    print("| layer | kept % | weight bits | + Huffman | index bits | + Huffman | rate % | + Huffman |")
    print("|---|---|---|---|---|---|---|---|")
    keys = ("density", "weight_bits", "weight_bits_huffman", "index_bits", "index_bits_huffman", "rate", "rate_huffman")
    for name, published in PUBLISHED[model].items():
        cells = []
        for key, cell in zip(keys, published, strict=True):
            measured = statistics.mean(run["rows"][name][key] for run in runs)
            scale = 100 if key in ("density", "rate", "rate_huffman") else 1
            cells.append(f"{cell:g} / {scale * measured:.3g}")
        print(f"| {name} | {' | '.join(cells)} |")
    errors = ", ".join(
        f"{run['error_dense']:.2f} -> {run['error_pruned']:.2f} -> {run['error_reloaded']:.2f} %" for run in runs
    )
    ratio = statistics.mean(run["ratio"] for run in runs)
    print(f"\nwhole: published {TOTALS[model]}; measured {ratio:.1f}x on disk, dense -> pruned -> shared: {errors}")


if __name__ == "__main__":
    main()
