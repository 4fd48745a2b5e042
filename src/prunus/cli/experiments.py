"""What the verbs that run experiments have in common: how to train, where the runs are kept, on how many cores."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from prunus.errors import PrunusError


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

    def settings(self, model: str) -> Any:
        """How the papers on tickets train `model`, with what was chosen otherwise."""
        from prunus.recipe.usual import ticket_settings

        settings = ticket_settings(model)
        if self.steps is not None:
            settings = replace(settings, steps=self.steps, epochs=None)
        names = ("batch", "optimizer", "learning_rate", "precision")
        chosen = {name: getattr(self, name) for name in names}
        return replace(settings, **{name: value for name, value in chosen.items() if value is not None})


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


def seeds_of(seed: int, replicates: int) -> tuple[int, ...]:
    """As many seeds as replicates, from `seed` on."""
    if replicates < 1:
        raise PrunusError(f"replicates must be at least 1, found {replicates}.")
    return tuple(range(seed, seed + replicates))
