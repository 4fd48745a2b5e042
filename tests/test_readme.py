"""The README's Python runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

from prunus import models, prune, score
from prunus.checkpoint import write_weights
from prunus.data import load
from prunus.mask import Mask
from prunus.models.start import glorot

ROOT = Path(__file__).parent.parent


def test_the_engineers_ten_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load("digits")
    network = models.build("lenet-300-100", data).apply(glorot)  # as if trained: layers of comparable size
    write_weights("trained.safetensors", network.state_dict(), {"model": models.describe(network)})
    steps = []

    def train(model, optimizer):
        inputs, labels = next(data.train.batches(64, most=1))
        for _ in range(3):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            steps.append(Mask.of_nonzero(model).density)

    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names = {"train": train}
    exec(code, names)
    assert steps == [pytest.approx(0.1, abs=1e-4)] * 3
    assert Mask.of_nonzero(names["model"]) == names["mask"] == prune(network, score.magnitude, 0.1)
    assert Path("small.prunus").stat().st_size < Path("trained.safetensors").stat().st_size / 6
