"""What every test shares."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch.optim.optimizer import register_optimizer_step_post_hook

settings.register_profile("prunus", deadline=None, max_examples=50, derandomize="CI" in os.environ)
settings.load_profile("prunus")


@pytest.fixture
def mnist() -> None:
    """For tests that need MNIST: skips where `PRUNUS_DATA` does not point at it."""
    folder = os.environ.get("PRUNUS_DATA")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("needs MNIST in hub layout under $PRUNUS_DATA/mnist")


@pytest.fixture
def one_thread():
    """Networks this small are slower with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def steps():
    """How many optimizer steps were taken so far, by anybody."""
    counter = Counter()
    handle = register_optimizer_step_post_hook(lambda *_: counter.update(["steps"]))
    yield lambda: counter["steps"]
    handle.remove()


@pytest.fixture
def two_ranks(tmp_path):
    """Run a script as two processes, given a rank and where to meet; what each wrote as JSON on its last line."""

    def run(script):
        workers = [
            subprocess.Popen(
                [sys.executable, str(script), str(rank), str(tmp_path / "meeting-point")],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        try:
            outputs = [worker.communicate(timeout=120) for worker in workers]
        finally:
            for worker in workers:
                worker.kill()
        for worker, (_, complaint) in zip(workers, outputs, strict=True):
            assert worker.returncode == 0, complaint
        return [json.loads(output.splitlines()[-1]) for output, _ in outputs]

    return run
