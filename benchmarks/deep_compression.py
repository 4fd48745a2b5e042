"""Deep Compression on MNIST: `prunus compress` over seeds, mean and spread. Writes results/deep-compression-*.json.

    python benchmarks/deep_compression.py lenet-300-100 --seeds 0 1 2 [--budget 0.25] [--density 0.05]

With --teacher, a file that `prunus train` wrote, results are kept under its name.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import keep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", type=float, default=1.0)
    parser.add_argument("--density", type=float)
    parser.add_argument("--recipe", default="deep-compression")
    parser.add_argument("--teacher", type=Path)
    options = parser.parse_args()
    runs = [compress(options, seed) for seed in options.seeds]
    variant = "".join(
        f"-{name}{value:g}"
        for name, value in (("budget", options.budget), ("density", options.density))
        if value not in (1.0, None)
    )
    suffix = "" if options.recipe == "deep-compression" else f"-{options.recipe}"
    suffix += f"-taught-by-{options.teacher.stem}" if options.teacher else ""
    path = keep(f"deep-compression-{options.model}{variant}{suffix}", {"runs": runs})
    for name in ("ratio", "density", "error_dense", "error_validation", "error_reloaded", "seconds"):
        values = [run[name] for run in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{name:18} {statistics.mean(values):9.3f} +- {spread:.3f}   {', '.join(f'{v:.3f}' for v in values)}")
    print(path)


def compress(options: argparse.Namespace, seed: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "prunus.cli", "compress", options.model, "--data", "mnist", "--json"),
            *("--recipe", options.recipe, "--budget", str(options.budget), "--seed", str(seed)),
            *("-o", f"{folder}/out.prunus"),
            *(("--density", str(options.density)) if options.density else ()),
            *(("--teacher", str(options.teacher)) if options.teacher else ()),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
