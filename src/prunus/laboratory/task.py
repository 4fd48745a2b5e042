"""What a network is to learn: the part that all pieces of one experiment share."""

import hashlib
import inspect
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from prunus import models
from prunus.data import Data, load
from prunus.data.corrupt import CORRUPTIONS, corrupted
from prunus.errors import PrunusError, unknown
from prunus.imported import imported
from prunus.low_rank import low_rank_like
from prunus.models.start import STARTS
from prunus.modes import mode
from prunus.shrinking import shrink_to_fit
from prunus.snapshot import Snapshot
from prunus.tree import parameters


@dataclass(frozen=True)
class Task:
    """A network by name and the data it learns, by name and by its bytes.

    `start` is how weights are drawn: "usual" for the network's own way, else "glorot" or "he". With `corrupt`,
    the training part has random labels or scrambled pixels; validation and test stay as they are.

    >>> Task.of("lenet-300-100", "digits").network(seed=1).fc1.weight.shape
    torch.Size([300, 64])
    """

    model: str
    data: str
    data_bytes: str
    start: str = "usual"
    corrupt: str | None = None
    model_code: str | None = None

    def __post_init__(self) -> None:
        if self.start not in ("usual", *STARTS):
            raise unknown("start", self.start, ("usual", *STARTS))
        if self.corrupt is not None and self.corrupt not in CORRUPTIONS:
            raise unknown("corruption", self.corrupt, CORRUPTIONS)

    @classmethod
    def of(cls, model: str, data: str, *, start: str = "usual", corrupt: str | None = None) -> Self:
        """The task of these names, with fingerprints of what is behind them; the data is read for it."""
        code = code_of("model", model) if ":" in model and not model.startswith(("timm:", "hf:")) else None
        return cls(model, data, _loaded(data).fingerprint, start, corrupt, code)

    def read(self) -> Data:
        """The data; raises `PrunusError` where it is not what it was when the task was put together."""
        data = _loaded(self.data)
        if data.fingerprint != self.data_bytes:
            raise PrunusError(f"data '{self.data}' has changed since this task was made.")
        return corrupted(data, self.corrupt) if self.corrupt else data

    def network(self, seed: int = 0) -> nn.Module:
        """The network, its weights drawn from `seed`; raises `PrunusError` where a person's own file has changed."""
        check_code("model", self.model, self.model_code)
        model = models.build(self.model, _loaded(self.data), seed=seed)
        if self.start != "usual":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model.apply(STARTS[self.start])
        return model

    def network_like(self, start: Snapshot) -> nn.Module:
        """The network in the sizes of `start`, which may have low rank or fewer channels; its weights mean nothing yet.

        Raises `PrunusError` for sizes with which it does not run on the data.
        """
        model = low_rank_like(self.network(), start.weights)
        own = parameters(model)
        if all(value.shape == own[name].shape for name, value in start.weights.items() if name in own):
            return model
        model = shrink_to_fit(model, {**start.weights, **start.buffers})
        try:
            with mode(model, training=False), torch.no_grad():
                model(self.example())
        except RuntimeError as error:
            raise PrunusError(f"weights of these sizes do not run on data '{self.data}': {error}.") from error
        return model

    def example(self) -> Tensor:
        """One normalised input (1, C, H, W)."""
        inputs, _ = next(_loaded(self.data).train.batches(1, most=1))
        return inputs


def code_of(kind: str, text: str) -> str:
    """A hash of the file that a person's own part, named `text`, comes from."""
    source = text.rpartition(":")[0]
    path = Path(source) if source.endswith(".py") else _file_of(imported(kind, text), source)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise PrunusError(f"{kind} '{text}': '{path}' cannot be read: {error.strerror}.") from error


def check_code(kind: str, text: str, code: str | None) -> None:
    """Raise `PrunusError` where the file of the part named `text` is not the one that hashed to `code`, if any."""
    if code is not None and code_of(kind, text) != code:
        raise PrunusError(f"{kind} '{text}' has changed since this experiment was put together.")


def _file_of(part: Any, package: str) -> Path:
    try:
        return Path(inspect.getsourcefile(part) or package)
    except TypeError:  # an object, not a function or a class
        return Path(getattr(sys.modules[package], "__file__", None) or package)


@lru_cache(maxsize=4)
def _loaded(name: str) -> Data:
    return load(name)
