"""What the verbs that run experiments have in common: how to train, and on how many cores."""

from dataclasses import replace
from typing import Any

from prunus.errors import PrunusError


def engine_of(name: str, address: str | None, processes: int) -> Any:
    """The engine called `name`, on the cluster at `address` or in so many processes."""
    from prunus.laboratory import pool, serial
    from prunus.laboratory.engine import ray

    if processes < 1:
        raise PrunusError(f"processes must be at least 1, found {processes}.")
    if name == "ray":
        return ray(address)
    if address is not None:
        raise PrunusError(f"address '{address}' is for --engine ray.")
    return serial if processes == 1 else pool(processes)


def settings_of(
    model: str, *, steps: int | None, batch: int | None, optimizer: str | None, learning_rate: float | None
) -> Any:
    """How the papers on tickets train `model`, with what a person chose otherwise."""
    from prunus.recipe.usual import ticket_settings

    settings = ticket_settings(model)
    if steps is not None:
        settings = replace(settings, steps=steps, epochs=None)
    chosen: dict[str, Any] = {"batch": batch, "optimizer": optimizer, "learning_rate": learning_rate}
    return replace(settings, **{name: value for name, value in chosen.items() if value is not None})


def seeds_of(seed: int, replicates: int) -> tuple[int, ...]:
    """As many seeds as replicates, from `seed` on."""
    if replicates < 1:
        raise PrunusError(f"replicates must be at least 1, found {replicates}.")
    return tuple(range(seed, seed + replicates))
