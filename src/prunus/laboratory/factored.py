"""Networks that go on as networks of low rank."""

from dataclasses import dataclass
from typing import Any

import torch

from prunus.evaluation import evaluate
from prunus.laboratory.task import Task
from prunus.laboratory.trained import Curve
from prunus.low_rank import low_rank
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece
from prunus.ticket.noise import quiet
from prunus.training import train


@dataclass(frozen=True, eq=False)
class Factored:
    """`start` made `low_rank` and trained on from its own step to the end of what `settings` ask for.

    `ratio`, `first`, `last`, `full`, `warm` and `norm` are those of `low_rank`; cold factors, order and noise come from
    `seed`. A warm start is `Trained` until some step. The weights that come out are those of the factors, for a network
    that `low_rank` makes of the task's. Measured: parameters before and after, error (percent) and loss on the
    validation part at some moments, and the error on the test part.
    """

    task: Task
    start: Piece
    settings: Settings
    seed: int
    ratio: float = 0.25
    first: int = 1
    last: int = 1
    full: tuple[str, ...] = ()
    warm: bool = True
    norm: bool = False

    def make(self, bench: Bench) -> Outcome:
        """Train."""
        data, start = self.task.read(), bench.result(self.start)
        total = self.settings.steps_in_all(len(data.train))
        with quiet():
            model = self.task.network_like(start)
            start.restore_weights(model)
            torch.manual_seed(self.seed)
            network = low_rank(
                model,
                ratio=self.ratio,
                first=self.first,
                last=self.last,
                full=self.full,
                warm=self.warm,
                norm=self.norm,
            )
            curve = Curve(network, data.validation, start.step, total, self.settings.precision)
            curve(start.step)
            train(
                network,
                data,
                self.settings,
                seed=self.seed,
                optimizer=make_optimizer(network, self.settings),
                begin=start.step,
                on_step=curve,
                stateful={"curve": curve},
                checkpoint=bench.unfinished,
                progress=bench.progress,
            )
            metrics: dict[str, Any] = {
                "steps": total - start.step,
                "parameters_full": sum(parameter.numel() for parameter in model.parameters()),
                "parameters": sum(parameter.numel() for parameter in network.parameters()),
                **curve.metrics(),
                "error": evaluate(network, data.test()).error,
            }
            return Outcome(Snapshot.take(network, step=total), metrics)
