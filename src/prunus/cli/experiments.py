"""What the verbs that run experiments have in common: how to train, where the runs are kept, on how many cores."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prunus.cli.options import with_chosen
from prunus.errors import PrunusError

if TYPE_CHECKING:
    from prunus.store import Store


@Parameter(name="*")
@dataclass(frozen=True)
class Training:
    """How to train, where a person does not want what the papers have."""

    start: Annotated[
        Literal["usual", "glorot", "he"] | None,
        Parameter(help="how weights are drawn; default: glorot, as in the paper, but usual for ResNets and VGGs"),
    ] = None
    steps: Annotated[int | None, Parameter(help="optimizer steps of a run; default: the paper's")] = None
    batch: int | None = None
    optimizer: Annotated[str | None, Parameter(help="sgd, adam or adamw")] = None
    learning_rate: float | None = None
    precision: Annotated[str | None, Parameter(help="32-true, bf16-mixed, or 16-mixed on a GPU")] = None
    sparse_below: Annotated[
        float | None,
        Parameter(help="density from which on kernels train kept weights alone; default: 0"),
    ] = None

    def settings(self, model: str) -> Any:
        """How the papers on tickets train `model`, with what was chosen otherwise."""
        from prunus.recipe.usual import ticket_settings

        return self.chosen(ticket_settings(model))

    def chosen(self, settings: Any) -> Any:
        """`settings` with what was chosen otherwise."""
        if self.steps is not None:
            settings = replace(settings, steps=self.steps, epochs=None)
        return with_chosen(
            settings,
            batch=self.batch,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            precision=self.precision,
            sparse_below=self.sparse_below,
        )


@Parameter(name="*")
@dataclass(frozen=True)
class Place:
    """Where runs are made and kept."""

    store: Annotated[Path, Parameter(help="the folder that keeps every run; made if it is missing")] = Path(
        "prunus-store"
    )
    engine: Annotated[Literal["local", "ray"], Parameter(help="this machine, or all cores of a Ray cluster")] = "local"
    address: Annotated[str | None, Parameter(help="of the Ray cluster; default: one on this machine")] = None
    processes: Annotated[int, Parameter(help="runs at a time, each on one core")] = 1

    def chosen_engine(self) -> Any:
        """The engine: on the Ray cluster at `address`, or in so many processes."""
        from prunus.laboratory import pool, serial
        from prunus.laboratory.engine import ray

        if self.processes < 1:
            raise PrunusError(f"processes must be at least 1, found {self.processes}.")
        if self.engine == "ray":
            return ray(self.address)
        if self.address is not None:
            raise PrunusError(f"address '{self.address}' is for --engine ray.")
        return serial if self.processes == 1 else pool(self.processes)


@dataclass
class Work:
    """What a store got while it was watched, by whomever."""

    pieces: int = 0
    steps: int = 0  # of training, in those pieces

    def __str__(self) -> str:
        return f"{self.pieces:,} pieces made, {self.steps:,} training steps run"


@contextmanager
def watched(store: "Store") -> Iterator[Work]:
    """The work that `store` shows when the block has ended."""
    before, work = set(store.runs()), Work()
    yield work
    new = [run for run in store.runs() if run not in before]
    work.pieces, work.steps = len(new), sum(store.metrics_of(run).get("steps", 0) for run in new)


def seeds_of(seed: int, replicates: int) -> tuple[int, ...]:
    """As many seeds as replicates, from `seed` on."""
    if replicates < 1:
        raise PrunusError(f"replicates must be at least 1, found {replicates}.")
    return tuple(range(seed, seed + replicates))
