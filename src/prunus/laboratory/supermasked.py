"""Masks learned over weights that are never trained."""

import os
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus import pack, parts
from prunus.batchnorm import recalibrate
from prunus.data import Data
from prunus.errors import PrunusError
from prunus.evaluation import evaluate
from prunus.laboratory.task import Task
from prunus.mask import Mask
from prunus.models import describe
from prunus.progress import Progress, silent
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece
from prunus.supermask import Bernoulli, EdgePopup, GemMiner, Learning, Start, Supermask, bake
from prunus.ticket.noise import generator_for, quiet
from prunus.training import History, train

_SAMPLES = 10  # masks, over which Zhou et al. 2019 average


class Method(Protocol):
    """How a mask is learned, as plain values."""

    def begin(self, model: nn.Module, start: Start, epochs: int, per_epoch: int) -> Learning:
        """Set it up, for so many epochs of so many steps."""
        ...


@dataclass(frozen=True)
class BestEdges:
    """`EdgePopup`, with a scope named as on the command line."""

    density: float
    scope: str = "tensor"

    def begin(self, model: nn.Module, start: Start, epochs: int, per_epoch: int) -> EdgePopup:
        """As `Method` has it."""
        return EdgePopup(model, start, self.density, scope=parts.scope_named(self.scope))


@dataclass(frozen=True)
class Chances:
    """`Bernoulli`."""

    chance: float = 0.5
    rescale: float = 1.0

    def begin(self, model: nn.Module, start: Start, epochs: int, per_epoch: int) -> Bernoulli:
        """As `Method` has it."""
        return Bernoulli(model, start, chance=self.chance, rescale=self.rescale)


@dataclass(frozen=True)
class Gems:
    """`GemMiner`, which freezes every `every` epochs, but not after the last."""

    density: float
    every: int = 1
    strength: float = 5e-5
    rescale: float = 0.5

    def begin(self, model: nn.Module, start: Start, epochs: int, per_epoch: int) -> GemMiner:
        """As `Method` has it; the last freezing is at least an epoch before the end where there are two."""
        if self.every < 1:
            raise PrunusError(f"every must be at least 1 epoch, found {self.every}.")
        freezings = max(1, (epochs - 1) // self.every)
        every = min(self.every, max(1, epochs - 1)) * per_epoch
        return GemMiner(
            model,
            start,
            self.density,
            every=every,
            freezings=freezings,
            strength=self.strength,
            rescale=self.rescale,
        )


def learn(
    learning: Learning,
    data: Data,
    settings: Settings,
    *,
    seed: int,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    title: str = "supermask",
) -> History:
    """Train the scores of `learning` alone; what is resumed and what refused is as in `prunus.training.train`."""

    def loss(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        value = F.cross_entropy(network(inputs), labels, label_smoothing=settings.label_smoothing)
        penalty = learning.penalty()
        return value if penalty is None else value + penalty

    return train(
        learning.network,
        data,
        settings,
        seed=seed,
        optimizer=make_optimizer(learning.scores, settings),
        loss=loss,
        on_step=learning.after_step,
        stateful={"learning": learning},
        checkpoint=checkpoint,
        progress=progress,
        title=title,
    )


def finish(learning: Learning, supermask: Supermask, model: nn.Module, data: Data) -> None:
    """Make `model` the plain network of `supermask`, its BatchNorm statistics taken anew."""
    bake(learning, supermask, model)
    recalibrate(model, data.calibration)


@dataclass(frozen=True, eq=False)
class Frozen:
    """Weights that are drawn for a supermask."""

    task: Task
    start: Start

    def make(self, bench: Bench) -> Outcome:
        """Draw them."""
        with quiet():
            model = self.task.network()
        self.start.apply_to(model)
        return Outcome(Snapshot.take(model))


@dataclass(frozen=True, eq=False)
class Supermasked:
    """The survivors of a mask learned over the weights of `start`.

    Measured of the network that is `start` and the mask found: its density, its error (percent) on the validation and
    the test part, the bytes of its file; of chances also the mean errors of sampled masks.
    """

    task: Task
    method: Method
    start: Start
    settings: Settings
    seed: int

    def make(self, bench: Bench) -> Outcome:
        """Learn it."""
        data = self.task.read()
        with quiet():
            model = self.task.network()
            per_epoch = max(1, len(data.train) // self.settings.batch)
            epochs = self.settings.steps_in_all(len(data.train)) // per_epoch
            learning = self.method.begin(model, self.start, epochs, per_epoch)
            learn(learning, data, self.settings, seed=self.seed, checkpoint=bench.unfinished, progress=bench.progress)
            sampled = self._of_samples(learning, model, data) if isinstance(learning, Bernoulli) else {}
            found = learning.found()
            finish(learning, found, model, data)
            metrics = {**_measured(bench, found, model, data), **sampled}
        return Outcome(learning.survivors(), metrics)

    def _of_samples(self, learning: Bernoulli, model: nn.Module, data: Data) -> dict[str, float]:
        generator, errors = generator_for(self.seed, "sampled"), []
        for _ in range(_SAMPLES):
            finish(learning, learning.sampled(generator), model, data)
            errors.append(_errors(model, data))
        return {f"{name}_of_samples": fmean(one[name] for one in errors) for name in errors[0]}


@dataclass(frozen=True, eq=False)
class Masked:
    """The network that is `start` and a mask from elsewhere, not trained: the mask, measured as `Supermasked` is."""

    task: Task
    start: Start
    mask: Piece

    def make(self, bench: Bench) -> Outcome:
        """Measure it."""
        data, mask = self.task.read(), bench.result(self.mask)
        with quiet():
            model = self.task.network()
            found = Supermask(self.start, mask)
            found.apply_to(model)
            recalibrate(model, data.calibration)
            return Outcome(mask, _measured(bench, found, model, data))


def _measured(bench: Bench, found: Supermask, model: nn.Module, data: Data) -> dict[str, Any]:
    file = bench.unfinished.with_name("network.prunus")
    contents = pack.write(file, model.state_dict(), drawn=found.drawn(), model=describe(model))
    return {
        "density": found.mask.density,
        "densities": found.mask.densities(),
        **_errors(model, data),
        "file_bytes": contents.file_bytes,
        "dense_bytes": 4 * sum(parameter.numel() for parameter in model.parameters()),
    }


def _errors(model: nn.Module, data: Data) -> dict[str, float]:
    return {
        "error_validation": evaluate(model, data.validation).error,
        "error": evaluate(model, data.test()).error,
    }


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """Of each tensor as many entries as `mask` keeps, at random places where it keeps none: a control."""

    mask: Piece
    seed: int

    def make(self, bench: Bench) -> Outcome:
        """Draw them; a mask that is more than half full has not enough other places, and all are taken."""
        generator = generator_for(self.seed, "elsewhere")
        mask: Mask = bench.result(self.mask)
        kept = {}
        for name, here in mask.items():
            places = (~here).reshape(-1).nonzero().squeeze(1)
            chosen = places[torch.randperm(len(places), generator=generator)[: int(here.sum())]]
            kept[name] = here.new_zeros(here.numel()).index_fill_(0, chosen, True).reshape(here.shape)
        found = Mask(kept)
        return Outcome(found, {"density": found.density, "densities": found.densities()})
