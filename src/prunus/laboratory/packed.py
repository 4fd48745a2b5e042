"""What weights come to as a file."""

from dataclasses import dataclass

from prunus.laboratory.task import Task
from prunus.loading import save
from prunus.store import Bench, Outcome, Piece
from prunus.ticket.noise import quiet


@dataclass(frozen=True, eq=False)
class Packed:
    """The bytes of the network of `task` with the trained `weights` as a `.prunus` file, written without loss."""

    task: Task
    weights: Piece

    def make(self, bench: Bench) -> Outcome:
        """Write it, and keep its size alone."""
        found = bench.result(self.weights)
        with quiet():
            model = self.task.network_like(found)
        found.restore_weights(model)
        contents = save(model, bench.unfinished.with_name("network.prunus"))
        bench.progress("pack", 1, 1, f"{contents.file_bytes:,} bytes")
        dense_bytes = 4 * sum(parameter.numel() for parameter in model.parameters())
        return Outcome(None, {"file_bytes": contents.file_bytes, "dense_bytes": dense_bytes})
