"""Weights that training made of a start: the one piece that takes long."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from prunus.data import Split
from prunus.evaluation import device_of, evaluate
from prunus.holding import Hold, hold
from prunus.laboratory.task import Task
from prunus.mask import Mask
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot
from prunus.sparse import SparseHold, hold_sparse
from prunus.store import Bench, Outcome, Piece
from prunus.ticket.noise import quiet
from prunus.training import train

_REDUCED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True, eq=False)
class Trained:
    """`start` after training, from its own step on, to step `until` or the end of what `settings` ask for.

    The network has the sizes of `start`: channels that were removed stay so.
    Where there is a `mask`, what it prunes is zero throughout, or stays at its start where `frozen`; layers are trained
    sparse where `settings` say so, in which case sums are added up in another order. Data order and
    noise come from `seed`. Measured: error (percent) and loss on the validation part at some forty moments a
    factor of e, in the precision of training; where that loss was least, and there and at the end the error on the test
    part, in full precision.
    """

    task: Task
    start: Piece
    settings: Settings
    seed: int
    mask: Piece | None = None
    frozen: bool = False
    until: int | None = None

    def make(self, bench: Bench) -> Outcome:
        """Train."""
        data, start = self.task.read(), bench.result(self.start)
        mask = bench.result(self.mask) if self.mask else None
        total = self.settings.steps_in_all(len(data.train))
        last = total if self.until is None else self.until
        with quiet():
            model, optimizer = as_begun(self.task, start, self.settings)
            curve = Curve(model, data.validation, start.step, last, self.settings.precision)
            with self._holding(optimizer, model, mask, start) as held:
                if start.step in (0, last):
                    curve(start.step)
                moving = self._moving(bench, held, optimizer, model, start.step, total)

                def on_step(step: int) -> None:
                    if moving:
                        moving(step)
                    curve(step)

                parts: dict[str, Any] = {"curve": curve, "held": held, "rewiring": moving}
                train(
                    model,
                    data,
                    self.settings,
                    seed=self.seed,
                    optimizer=optimizer,
                    begin=start.step,
                    end=last,
                    on_step=on_step,
                    stateful={name: part for name, part in parts.items() if hasattr(part, "state_dict")},
                    checkpoint=bench.unfinished,
                    progress=bench.progress,
                )
                if held:
                    held.verify()
            result = Snapshot.take(model, optimizer if last < total else None, step=last)
            if moving and held:
                result = replace(result, extra={"mask": dict(held.mask)})
            metrics: dict[str, Any] = {"steps": last - start.step, **curve.metrics()}
            if last == total:
                metrics["error"] = evaluate(model, data.test()).error
                curve.restore_best()
                metrics["early_stop"]["error"] = evaluate(model, data.test()).error
        return Outcome(result, metrics)

    def _moving(
        self, bench: Bench, held: Any, optimizer: Optimizer, model: nn.Module, begin: int, total: int
    ) -> Callable[[int], None] | None:
        """What moves the mask, if anything does."""
        return None

    def _holding(
        self, optimizer: Optimizer, model: nn.Module, mask: Mask | None, start: Snapshot
    ) -> AbstractContextManager[Hold | SparseHold | None]:
        if mask is None:
            return nullcontext()
        if self.settings.sparse_below and not self.frozen:
            return hold_sparse(optimizer, model, mask, below=self.settings.sparse_below)
        return hold(optimizer, model, mask, at=start.weights if self.frozen else None)


def as_begun(task: Task, start: Snapshot, settings: Settings) -> tuple[nn.Module, Optimizer]:
    """The network in the sizes of `start` with its weights, and the optimizer with what it remembers there, if any."""
    model = task.network_like(start)
    optimizer = make_optimizer(model, settings)
    if start.optimizer is None:
        start.restore_weights(model)
    else:
        start.restore(model, optimizer)
    return model, optimizer


class Curve:
    """Error and loss on the validation part while training goes on, and the weights where that loss was least."""

    def __init__(self, model: nn.Module, split: Split, begin: int, last: int, precision: str) -> None:
        self._model, self._split = model, split
        self._moments = frozenset(moments(begin, last))
        self._type = _REDUCED.get(precision)
        self._points: list[list[float]] = []
        self._best: dict[str, Tensor] = {}
        self._lowest = float("inf")

    def __call__(self, step: int) -> None:
        """Look, if it is time."""
        if step not in self._moments:
            return
        with torch.autocast(device_of(self._model).type, self._type) if self._type else nullcontext():
            found = evaluate(self._model, self._split)
        self._points.append([step, found.error, found.loss])
        if found.loss < self._lowest:
            self._lowest = found.loss
            self._best = {name: value.detach().clone() for name, value in self._model.state_dict().items()}

    def metrics(self) -> dict[str, Any]:
        """Points (step, error, loss), the last error, and the point of the least loss."""
        step, error, loss = min(self._points, key=lambda point: point[2])
        return {
            "curve": self._points,
            "error_validation": self._points[-1][1],
            "early_stop": {"step": int(step), "error_validation": error, "loss_validation": loss},
        }

    def restore_best(self) -> None:
        """Give the model the weights where the loss was least."""
        self._model.load_state_dict(self._best)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"points": self._points, "best": self._best, "lowest": self._lowest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self._points, self._best, self._lowest = state["points"], state["best"], state["lowest"]


def moments(begin: int, last: int) -> list[int]:
    """Steps to look at: at least 50 apart, 2.5 % of the step apart later on; the first and the last always."""
    found, step = [], begin
    while step < last:
        found.append(step)
        step += max(50, step // 40)
    return [*found, last]
