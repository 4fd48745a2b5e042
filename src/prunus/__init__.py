"""prunus: find the small network inside a big one, show that it holds, ship it as a small file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from prunus.construction import Construction, approximate
    from prunus.errors import DivergedError, FormatError, PrunusError
    from prunus.holding import Hold, hold
    from prunus.loading import load, save
    from prunus.mask import Mask
    from prunus.pack import inspect, read, write
    from prunus.pruning import prune
    from prunus.shrinking import shrink
    from prunus.snapshot import Snapshot
    from prunus.sparse import SparseHold, densify, hold_sparse, sparsify

# torch takes a second to import, so a name is fetched when it is first asked for.
_HOME = {
    "prune": "pruning",
    "Mask": "mask",
    "hold": "holding",
    "Hold": "holding",
    "Snapshot": "snapshot",
    "shrink": "shrinking",
    "sparsify": "sparse",
    "densify": "sparse",
    "hold_sparse": "sparse",
    "SparseHold": "sparse",
    "approximate": "construction",
    "Construction": "construction",
    "write": "pack",
    "read": "pack",
    "inspect": "pack",
    "load": "loading",
    "save": "loading",
    "PrunusError": "errors",
    "FormatError": "errors",
    "DivergedError": "errors",
}

__all__ = [
    "Construction",
    "DivergedError",
    "FormatError",
    "Hold",
    "Mask",
    "PrunusError",
    "Snapshot",
    "SparseHold",
    "approximate",
    "densify",
    "hold",
    "hold_sparse",
    "inspect",
    "load",
    "prune",
    "read",
    "save",
    "shrink",
    "sparsify",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'prunus' has no attribute '{name}'")
    return getattr(import_module(f"prunus.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
