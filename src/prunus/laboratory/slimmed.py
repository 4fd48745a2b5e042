"""Training that shows which channels matter: a penalty on BatchNorm scales, and a mask of the largest."""

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from prunus.evaluation import evaluate
from prunus.laboratory.task import Task
from prunus.laboratory.trained import as_begun
from prunus.settings import Settings
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece
from prunus.structured.slimming import largest, penalty, scales, spared
from prunus.ticket.early_bird import EarlyBird
from prunus.ticket.noise import quiet
from prunus.training import train


@dataclass(frozen=True, eq=False)
class Slimmed:
    """`start` after training with a penalty of `strength` times the sum of |gamma| over all BatchNorm scales.

    With `density`, until the channels that it keeps have settled, as `EarlyBird` tells with `window` and `threshold`
    after every epoch; where they never do, and without `density`, to the end of what `settings` ask for. Measured:
    whether they settled, the step, and of every epoch the distances of its mask from those before it in the window.

    Source: Liu et al. 2017, "Learning efficient convolutional networks through network slimming".
    """

    task: Task
    start: Piece
    settings: Settings
    seed: int
    strength: float = 1e-4
    density: float | None = None
    window: int = 5
    threshold: float = 0.1

    def make(self, bench: Bench) -> Outcome:
        """Train."""
        data, start = self.task.read(), bench.result(self.start)
        total = self.settings.steps_in_all(len(data.train))
        with quiet():
            model, optimizer = as_begun(self.task, start, self.settings)
            watch = _Watch(model, self._early_bird(), len(data.train) // self.settings.batch)
            try:
                train(
                    model,
                    data,
                    self.settings,
                    seed=self.seed,
                    optimizer=optimizer,
                    loss=self._loss,
                    begin=start.step,
                    on_step=watch,
                    stateful={"watch": watch},
                    checkpoint=bench.unfinished,
                    progress=bench.progress,
                )
                last = total
            except _SettledError as settled:
                last = settled.step
            result = Snapshot.take(model, optimizer if last < total else None, step=last)
            metrics: dict[str, Any] = {"steps": last - start.step, **watch.metrics()}
            if last == total:
                metrics["error_validation"] = evaluate(model, data.validation).error
                metrics["error"] = evaluate(model, data.test()).error
        return Outcome(result, metrics)

    def _early_bird(self) -> EarlyBird | None:
        if self.density is None:
            return None
        return EarlyBird(self.density, window=self.window, threshold=self.threshold)

    def _loss(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        fit = F.cross_entropy(model(inputs), labels, label_smoothing=self.settings.label_smoothing)
        return fit + self.strength * penalty(model)


@dataclass(frozen=True, eq=False)
class Ranked:
    """A mask of channels: of all, the part `density` with the largest BatchNorm scales of `trained`.

    A layer that would lose all its channels, and end the network, keeps the largest one beyond that.
    """

    task: Task
    trained: Piece
    density: float

    def make(self, bench: Bench) -> Outcome:
        """Rank."""
        with quiet():
            names = scales(self.task.network())
        trained: Snapshot = bench.result(self.trained)
        found = {name: trained.weights[name] for name in names}
        mask = spared(largest(found, self.density), found)
        return Outcome(mask, {"density": mask.density, "densities": mask.densities()})


class _SettledError(Exception):
    """The channels have settled; not a failure, but the way out of the training loop."""

    def __init__(self, step: int) -> None:
        super().__init__(f"settled at step {step}")
        self.step = step


class _Watch:
    """Looks at the channels after every epoch, and ends the training when they have settled."""

    def __init__(self, model: nn.Module, early_bird: EarlyBird | None, per_epoch: int) -> None:
        self._model, self._early_bird, self._per_epoch = model, early_bird, per_epoch
        self._distances: list[list[float]] = []
        self._settled = False

    def __call__(self, step: int) -> None:
        """Look, if it is time."""
        if self._early_bird is None or step % self._per_epoch:
            return
        self._settled = self._early_bird.update(self._model)
        self._distances.append(self._early_bird.distances)
        if self._settled:
            raise _SettledError(step)

    def metrics(self) -> dict[str, Any]:
        """Whether the channels settled, and the distances of each epoch's mask."""
        return {"settled": self._settled, "distances": self._distances} if self._early_bird else {}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "distances": self._distances,
            "early_bird": self._early_bird.state_dict() if self._early_bird else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self._distances = state["distances"]
        if self._early_bird:
            self._early_bird.load_state_dict(state["early_bird"])
