"""Where a result was measured, and the file it is kept in."""

import datetime
import importlib.metadata
import json
import os
import platform
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def keep(name: str, result: dict[str, object]) -> Path:
    """Write `result` with machine, versions and date to results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**described(), **result}, indent=1) + "\n")
    return path


def described() -> dict[str, object]:
    """Machine, versions and date."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "machine": {
            "cpu": cpu,
            "cores": os.cpu_count(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("prunus", "torch", "numpy", "numba")},
        },
        "date": datetime.date.today().isoformat(),
    }
