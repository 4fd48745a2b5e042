"""The run that these tests start, stop and compare."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.data import load
from prunus.settings import Settings
from prunus.training import History, train

DIGITS = load("digits")
SETTINGS = Settings(steps=50, batch=100, decay="cosine", warm_up=5, augment=True, label_smoothing=0.1)


class Noisy(nn.Module):
    """Dropout, BatchNorm and a buffer: everything that can make two runs differ."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, 32)
        self.norm = nn.BatchNorm1d(32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.dropout(F.relu(self.norm(self.fc1(images.flatten(1)))), 0.2, self.training)
        return self.fc2(hidden)  # type: ignore[no-any-return]


def noisy() -> Noisy:
    torch.manual_seed(0)
    return Noisy()


def same(first: nn.Module, second: nn.Module) -> bool:
    others = second.state_dict()
    return all(torch.equal(value, others[name]) for name, value in first.state_dict().items())


class Counter:
    """A stateful part: what it adds to the weights depends on all its past."""

    def __init__(self, model: Noisy) -> None:
        self.model, self.count = model, torch.zeros(())

    def __call__(self, step: int) -> None:
        self.count = self.count * 0.5 + step
        with torch.no_grad():
            self.model.fc2.bias[0] = self.count

    def state_dict(self) -> dict[str, Tensor]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.count = state["count"].clone()


class StoppedError(Exception):
    pass


def run(checkpoint: Path | None, *, stop: int | None = None, **changes: Any) -> tuple[Noisy, History | None]:
    """Train with everything on; with `stop`, an exception comes after that step and its checkpoint."""
    model = noisy()
    counter = Counter(model)

    def on_step(step: int) -> None:
        if stop is not None and step > stop:
            raise StoppedError
        counter(step)

    settings = dataclasses.replace(SETTINGS, **changes)
    try:
        history = train(
            model,
            DIGITS,
            settings,
            seed=1,
            on_step=on_step,
            stateful={"count": counter},
            checkpoint=checkpoint,
            every=0,
        )
    except StoppedError:
        return model, None
    return model, history


def run_script(tmp_path: Path, script: str, *arguments: str) -> int:
    """Run `script` in a process of its own, where this folder can be imported as `training`."""
    tests = str(Path(__file__).parent.parent)
    (tmp_path / "script.py").write_text(f"import sys\nsys.path.append({tests!r})\n{script}")
    return subprocess.run([sys.executable, tmp_path / "script.py", *arguments], timeout=300).returncode
