"""The straight line between two trained networks, measured."""

from dataclasses import asdict, dataclass
from typing import Any

from prunus.laboratory.task import Task
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece
from prunus.ticket.connect import connect
from prunus.ticket.noise import quiet


@dataclass(frozen=True, eq=False)
class Connected:
    """Errors on the line between two networks of one task, at `points` points.

    They are those on the test part, and on the first `rows` rows of the training part.
    """

    task: Task
    first: Piece
    second: Piece
    points: int = 30
    rows: int = 10_000

    def make(self, bench: Bench) -> Outcome:
        """Walk the line."""
        data = self.task.read()
        with quiet():
            model = self.task.network()
            path = connect(
                model,
                _state(bench.result(self.first)),
                _state(bench.result(self.second)),
                {"train": data.train.first(self.rows), "test": data.test()},
                points=self.points,
                recalibrate=data.calibration,
                progress=bench.progress,
            )
        metrics: dict[str, Any] = asdict(path)
        metrics["barrier"] = {split: path.barrier(split) for split in ("train", "test")}
        return Outcome(None, metrics)


def _state(snapshot: Snapshot) -> dict[str, Any]:
    return {**snapshot.weights, **snapshot.buffers}
