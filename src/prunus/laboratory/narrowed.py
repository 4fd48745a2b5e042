"""Networks that lose whole channels: chosen by any score, by LASSO, or by training that empties them."""

from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from prunus import parts
from prunus.evaluation import evaluate
from prunus.laboratory.task import Task, check_code
from prunus.laboratory.trained import as_begun
from prunus.mask import Mask
from prunus.measures import measured
from prunus.pattern import channel
from prunus.pruning import prune
from prunus.scope import together
from prunus.settings import Settings
from prunus.shrinking import Wiring, alone, shrink, spread, wiring
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece
from prunus.structured import GroupLasso, select_channels
from prunus.ticket.noise import generator_for, quiet
from prunus.training import train
from prunus.tree import assign, weights


@dataclass(frozen=True, eq=False)
class Narrowed:
    """`trained` without whole channels, of which a score keeps the part `density`; without it, those that are empty.

    Channels that belong together live and die together, and their scores are summed. `score`, `pattern` (`channel(0)`
    or `channel(1)`) and `scope` are named as on the command line. With `alone`, only those channels may go that one
    layer alone reads, inside the blocks of a residual network, as with `Selected`. Step and schedule stay those of
    `trained`. Measured: the parameters before and after, and the largest difference of outputs from those of the masked
    network, in parts of the largest.
    """

    task: Task
    trained: Piece
    density: float | None = None
    score: str = "magnitude"
    score_code: str | None = None
    pattern: str = "channel(0)"
    scope: str = "tensor"
    seed: int = 0
    alone: bool | None = None  # None is no, and in no identity

    def make(self, bench: Bench) -> Outcome:
        """Choose channels and remove the others."""
        with quiet():
            trained: Snapshot = bench.result(self.trained)
            model = _restored(self.task, trained)
            channels = wiring(model, example=self.task.example())
            mask = Mask.of_nonzero(model) if self.density is None else self._kept(model, channels, self.density)
            return _outcome(self.task, trained, model, spread(mask, channels))

    def _kept(self, model: nn.Module, channels: Wiring, density: float) -> Mask:
        check_code("score", self.score, self.score_code)
        score, pattern = parts.score_named(self.score), parts.pattern_named(self.pattern)
        if self.alone:
            channels = alone(channels)
        groups = channels.outputs if pattern == channel(0) else channels.inputs
        evidence: dict[str, Any] = {"generator": generator_for(self.seed, "score")}
        evidence |= measured(signature(score).parameters, model, self.task.read())
        scope = together(groups, parts.scope_named(self.scope))
        return prune(model, score, density, pattern=pattern, scope=scope, **evidence)


@dataclass(frozen=True, eq=False)
class Selected:
    """`trained` with the part `density` of the channels that one layer alone reads, by LASSO, and layers fitted anew.

    They are measured on the first `rows` rows of the training part. Measured: as of `Narrowed`, and the relative errors
    of the layers. Source: He, Zhang & Sun 2017, as `structured.select_channels` has it.
    """

    task: Task
    trained: Piece
    density: float
    rows: int = 1024

    def make(self, bench: Bench) -> Outcome:
        """Choose, fit and remove."""
        with quiet():
            trained: Snapshot = bench.result(self.trained)
            model = _restored(self.task, trained)
            channels = wiring(model, example=self.task.example())
            batches = list(self.task.read().train.batches(256, most=-(-self.rows // 256)))
            names = [name for name, numbers in alone(channels).inputs.items() if (numbers >= 0).any()]
            found = select_channels(model, dict.fromkeys(names, self.density), batches, channels)
            assign(model, found.weights)
            return _outcome(self.task, trained, model, found.mask, errors=found.errors)


@dataclass(frozen=True, eq=False)
class Lassoed:
    """`start` after training in which proximal steps of `strength` empty whole groups of weights.

    Groups are the atoms of `pattern`, named as on the command line, of all weights that make channels which may go,
    with `alone` as in `Narrowed`, which without a density removes what is empty. Source: Wen et al. 2016, as
    `structured.GroupLasso` has it.
    """

    task: Task
    start: Piece
    settings: Settings
    seed: int
    strength: float
    pattern: str = "channel(0)"
    alone: bool | None = None  # None is no, and in no identity

    def make(self, bench: Bench) -> Outcome:
        """Train."""
        data, start = self.task.read(), bench.result(self.start)
        total = self.settings.steps_in_all(len(data.train))
        with quiet():
            model, optimizer = as_begun(self.task, start, self.settings)
            channels = wiring(model, example=self.task.example())
            outputs = (alone(channels) if self.alone else channels).outputs
            own = {name: weight for name, weight in weights(model).items() if (outputs[name] >= 0).any()}
            train(
                model,
                data,
                self.settings,
                seed=self.seed,
                optimizer=optimizer,
                begin=start.step,
                on_step=GroupLasso(optimizer, own, self.strength, pattern=parts.pattern_named(self.pattern)),
                checkpoint=bench.unfinished,
                progress=bench.progress,
            )
            metrics = {
                "steps": total - start.step,
                "density": Mask.of_nonzero(model).density,
                "error_validation": evaluate(model, data.validation).error,
                "error": evaluate(model, data.test()).error,
            }
            return Outcome(Snapshot.take(model, step=total), metrics)


def _restored(task: Task, trained: Snapshot) -> nn.Module:
    model = task.network_like(trained)
    trained.restore_weights(model)
    return model


def _outcome(task: Task, trained: Snapshot, model: nn.Module, mask: Mask, **measured: Any) -> Outcome:
    smaller = shrink(model, mask, example=task.example())
    before, after = (sum(parameter.numel() for parameter in network.parameters()) for network in (model, smaller))
    mask.apply_to(model)
    metrics = {
        "parameters_before": before,
        "parameters": after,
        "difference": _difference(model, smaller, next(task.read().train.batches(256, most=1))[0]),
        **measured,
    }
    return Outcome(Snapshot.take(smaller, step=trained.step), metrics)


@torch.no_grad()
def _difference(masked: nn.Module, smaller: nn.Module, inputs: Tensor) -> float:
    """The largest of outputs in evaluation mode, in parts of the largest output."""
    expected, found = (network.eval()(inputs) for network in (masked, smaller))
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny))
