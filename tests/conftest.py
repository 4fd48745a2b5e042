"""What every test shares."""

import os
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
