"""Weights pruned by methods that move those they keep."""

from dataclasses import dataclass
from inspect import signature
from typing import Any

from prunus import parts
from prunus.laboratory.task import Task
from prunus.measures import measured
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece
from prunus.ticket.noise import quiet
from prunus.tree import assign


@dataclass(frozen=True, eq=False)
class Compensated:
    """`trained` pruned to `density` by `method`, which moves the weights that it keeps to make up for the others.

    `method` ("l_obs", "obs", "sparsegpt" or "woodfisher") and `scope` are named as on the command line; without a
    scope, the method's own. What was zero before goes first. The mask is handed on by `Ended`; to train on with a
    schedule that begins anew, start from `Rewound`.
    """

    task: Task
    trained: Piece
    density: float
    method: str = "l_obs"
    scope: str | None = None

    def make(self, bench: Bench) -> Outcome:
        """Measure, choose and move."""
        trained: Snapshot = bench.result(self.trained)
        method = parts.method_named(self.method)
        how: dict[str, Any] = {} if self.scope is None else {"scope": parts.scope_named(self.scope)}
        with quiet():
            model = self.task.network_like(trained)
            trained.restore_weights(model)
            evidence = measured(signature(method).parameters, model, self.task.read())
            moved, mask = method(model, density=self.density, **how, **evidence)
            assign(model, mask.apply(moved))
            result = Snapshot.take(model, step=trained.step, extra={"mask": dict(mask)})
        return Outcome(result, {"density": mask.density, "densities": mask.densities()})
