"""Trainings that prune or quantise on the way, by name or by any method of `prunus.reparametrised`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from prunus.batchnorm import recalibrate
from prunus.errors import PrunusError, unknown
from prunus.evaluation import evaluate
from prunus.laboratory.task import Task
from prunus.laboratory.trained import Curve
from prunus.reparametrised import (
    DynamicPruning,
    HardConcrete,
    Method,
    Movement,
    Quantised,
    Reparametrisation,
    SoftMovement,
    SoftThreshold,
    Surgery,
    VariationalDropout,
)
from prunus.settings import Settings
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece
from prunus.ticket.noise import quiet
from prunus.training import train


@dataclass(frozen=True, eq=False)
class Reparametrised:
    """`start` after training with `method`, from its own step on, to step `until` or the end that `settings` ask for.

    What comes out are plain weights with exact zeros, of the mask that `Ended` takes. Of all prunable weights, but
    those named in `left`, at most `density` are kept, those that the method holds worth most; with BatchNorm statistics
    taken anew. `Trained` with `Ended` as its mask goes on from `until`, the optimizer's memory begins anew. Data order
    and noise come from `seed`.
    Measured: density, and error (percent) and loss on the validation part at some moments, of what evaluation sees
    then; at the end, of the plain network, the error on the validation and the test part.
    """

    task: Task
    start: Piece
    settings: Settings
    seed: int
    method: Method
    density: float = 1.0
    left: tuple[str, ...] = ()
    until: int | None = None

    def make(self, bench: Bench) -> Outcome:
        """Train."""
        data, start = self.task.read(), bench.result(self.start)
        total = self.settings.steps_in_all(len(data.train))
        last = total if self.until is None else self.until
        with quiet():
            model = self.task.network_like(start)
            start.restore_weights(model)
            learning = Reparametrisation(model, self.method, left=self.left)
            curve = Curve(learning.network, data.validation, start.step, last, self.settings.precision)
            if start.step in (0, last):
                curve(start.step)

            def on_step(step: int) -> None:
                learning.after_step(step)
                curve(step)

            def loss(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
                value = F.cross_entropy(network(inputs), labels, label_smoothing=self.settings.label_smoothing)
                penalty = learning.penalty()
                return value if penalty is None else value + penalty

            train(
                learning.network,
                data,
                self.settings,
                seed=self.seed,
                optimizer=learning.optimizer(self.settings),
                loss=loss,
                begin=start.step,
                end=last,
                on_step=on_step,
                stateful={"curve": curve, "learning": learning},
                checkpoint=bench.unfinished,
                progress=bench.progress,
            )
            mask = learning.bake(model, self.density)
            recalibrate(model, data.calibration)
            metrics: dict[str, Any] = {
                "steps": last - start.step,
                "density": mask.density,
                "densities": mask.densities(),
                "curve": curve.metrics()["curve"],
                "error_validation": evaluate(model, data.validation).error,
            }
            if last == total:
                metrics["error"] = evaluate(model, data.test()).error
            return Outcome(Snapshot.take(model, step=last, extra={"mask": dict(mask)}), metrics)


def named(name: str, *, density: float, settings: Settings, rows: int) -> Method:
    """The method of this name in `METHODS`, for about `density`, trained as `settings` say on a part of `rows` rows.

    Movement and dynamic pruning (DPF) reach the density itself. That of others follows from thresholds and penalties,
    which are scaled here by rules of thumb for Adam: `Reparametrised` cuts what is above, and what is below shows in
    its metrics. With SGD, whose steps are as long as the slope, most penalties hardly act, and the cut decides. They
    have decided after three quarters of the steps; with `until` there, `Trained` heals the cut. Start surgery from
    trained weights. Train, prune, retrain (Han et al. 2015) is `Pruned` between two `Trained`, and gradual magnitude
    pruning (Zhu & Gupta 2017) is `GraduallyPruned`.

    >>> named("movement-pruning", density=0.1, settings=Settings(steps=1000), rows=600).end
    750
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    steps = settings.steps_in_all(rows)
    if steps < 4:
        raise PrunusError(f"a method over training takes 4 steps at least, found {steps}.")
    method = METHODS[name](density, steps, rows)
    if isinstance(method, SoftThreshold) and settings.optimizer == "sgd":  # the penalty alone takes -6 to -3.6
        return replace(method, rate=0.5 / (settings.learning_rate * method.strength * steps))
    return method


def _surgery(density: float, steps: int, rows: int) -> Surgery:
    """With the threshold that half of that density of normal weights exceeds, as more will be spliced."""
    normal = NormalDist()
    mean, deviation = 0.797885, 0.602810  # of |w|, w normal: sqrt(2 / pi), sqrt(1 - 2 / pi)
    threshold = normal.inv_cdf(1 - density / 4)
    return Surgery((threshold - mean) / deviation, until=3 * steps // 4, gamma=10 / steps)


METHODS: dict[str, Callable[[float, int, int], Method]] = {
    "dpf": lambda density, steps, rows: DynamicPruning(
        density, begin=steps // 10, end=3 * steps // 4, every=max(1, steps // 100)
    ),
    "surgery": _surgery,
    "movement-pruning": lambda density, steps, rows: Movement(
        density, begin=steps // 10, end=3 * steps // 4, every=max(1, steps // 1000), rate=10.0
    ),
    "soft-movement": lambda density, steps, rows: SoftMovement(0.05 / density / rows, rate=10.0, warm_up=steps // 2),
    "soft-threshold": lambda density, steps, rows: SoftThreshold(-6.0, 0.05 / density, rate=20.0),
    "variational-dropout": lambda density, steps, rows: VariationalDropout(1 / rows, warm_up=steps // 2),
    "l0": lambda density, steps, rows: HardConcrete(0.05 / density / rows, chance=0.9, rate=10.0, warm_up=steps // 2),
    "binary": lambda density, steps, rows: Quantised(1),
    "4-bit": lambda density, steps, rows: Quantised(4),
}
"""Methods over training by name: from a density, and the numbers of steps and of training rows."""
