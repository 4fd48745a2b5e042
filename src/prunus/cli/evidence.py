"""What a score or a method asks for, as far as options of a verb give it."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any


def check_data(needs: Collection[str], mover: str | None) -> None:
    """Raise `PrunusError` if what the score `needs`, or what moves weights, would be measured on data.

    Flows are not: they take no more of an input than its shape.
    """
    from prunus.errors import PrunusError
    from prunus.measures import MEASURES

    if mover:
        raise PrunusError(f"{mover} measures the network on data: give --data.")
    if wanted := [name.replace("_", " ") for name in MEASURES if name in needs and name != "flows"]:
        raise PrunusError(f"this score needs {' and '.join(wanted)}: give --data.")


def measuring(needs: Collection[str], loaded: Any, example: Any) -> Callable[[Any], dict[str, Any]]:
    """A function that measures on a network, with the data `loaded` or else one `example`, what the score `needs`."""
    from prunus.evidence import flows
    from prunus.measures import measured

    if loaded is not None:
        return lambda network: measured(needs, network, loaded)
    return lambda network: {"flows": flows(network, example)} if "flows" in needs else {}


def evidence(needs: Collection[str], network: Any, initial: Path | None, seed: int) -> dict[str, Any]:
    """What of `needs` is the same in every round: a generator, and the weights before training."""
    import torch

    from prunus.checkpoint import read_weights
    from prunus.errors import PrunusError
    from prunus.tree import weights

    found: dict[str, Any] = {}
    if "generator" in needs:
        found["generator"] = torch.Generator().manual_seed(seed)
    if "initial" in needs:
        if initial is None:
            raise PrunusError("this score needs the weights before training: give --initial.")
        before = read_weights(initial)
        missing = [name for name in weights(network) if name not in before]
        if missing:
            raise PrunusError(f"{initial} does not hold {', '.join(missing[:3])}.")
        found["initial"] = {name: before[name] for name in weights(network)}
    return found
