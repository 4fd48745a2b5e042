"""What every result says of where it was measured."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

import torch


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
