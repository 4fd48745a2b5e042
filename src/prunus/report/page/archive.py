"""What a store holds, read with distrust: every value is checked where it is used."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prunus.errors import FormatError
from prunus.mask import Mask
from prunus.store import Store
from prunus.store.lineage import Node, lineage


@dataclass(frozen=True)
class Value:
    """A plain value and the place where it was found; raises `FormatError` where it is not what is asked for.

    >>> Value({"error": [1.5]}, "run 7")["error"][0].number()
    1.5
    >>> Value({"error": [1.5]}, "run 7")["error"].number()
    Traceback (most recent call last):
    prunus.errors.FormatError: run 7: error is [1.5], expected a finite number.
    """

    plain: Any
    place: str

    def __getitem__(self, key: str | int) -> "Value":
        inside = f"{self.place}{', ' if ': ' in self.place else ': '}{key}"
        try:
            return Value(self.plain[key], inside)
        except (KeyError, IndexError, TypeError) as error:
            raise FormatError(f"{inside} is missing.") from error

    def __contains__(self, key: str) -> bool:
        return isinstance(self.plain, dict) and key in self.plain

    def __iter__(self) -> Iterator["Value"]:
        return (self[place] for place in range(len(self._as(list, "a list"))))

    def items(self) -> Iterator[tuple[str, "Value"]]:
        """The parts of a mapping by name."""
        return ((name, self[name]) for name in self._as(dict, "a table"))

    def number(self) -> float:
        """A finite number."""
        if isinstance(self.plain, bool) or not isinstance(self.plain, int | float) or not abs(self.plain) < 1e300:
            raise self._unlike("a finite number")
        return float(self.plain)

    def text(self) -> str:
        """A string."""
        return str(self._as(str, "text"))

    def _as(self, kind: type, name: str) -> Any:
        if not isinstance(self.plain, kind):
            raise self._unlike(name)
        return self.plain

    def _unlike(self, expected: str) -> FormatError:
        return FormatError(f"{self.place} is {repr(self.plain)[:60]}, expected {expected}.")


class Archive:
    """All runs of a store by identity, and the tree they form."""

    def __init__(self, store: Store) -> None:
        self.path = store.path
        self.roots = lineage(store)
        self._nodes = {node.run: node for node in _all(self.roots)}

    def __len__(self) -> int:
        return len(self._nodes)

    def runs(self, found: Value) -> tuple[str, ...]:
        """The identities in the list `found`; raises `FormatError` for one that is not in the store."""
        return tuple(self.run(value) for value in found)

    def run(self, found: Value) -> str:
        """The identity `found`; raises `FormatError` if it is not in the store."""
        if found.text() not in self._nodes:
            raise FormatError(f"{found.place}: the run {found.text()!r} is not in the store {self.path}.")
        return found.text()

    def metrics(self, run: str) -> Value:
        """What was measured in `run`."""
        return Value(self._nodes[run].metrics, f"run {run}")

    def mask(self, run: str) -> Mask:
        """The mask that `run` made; raises `FormatError` if it made none."""
        path = self.path / run / "result.safetensors"
        if not path.is_file():
            raise FormatError(f"run {run} has no mask.")
        return Mask.load(path)

    def versions(self) -> list[str]:
        """The versions that runs were made with, each once, as `torch 2.13.0`."""
        tables = (Value(node.specification, f"run {run}")["versions"] for run, node in self._nodes.items())
        return sorted({f"{name} {version.text()}" for table in tables for name, version in table.items()})

    def newest(self) -> datetime:
        """When the last run was finished, in UTC."""
        return max(_finished(self.path / run / "about.json") for run in self._nodes)


def _all(roots: Iterable[Node]) -> Iterator[Node]:
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.children


def _finished(path: Path) -> datetime:
    try:
        finished = Value(json.loads(path.read_text()), str(path))["finished"].text()
        return datetime.fromisoformat(finished).astimezone(UTC)
    except (OSError, ValueError, OverflowError) as error:
        raise FormatError(f"{path} does not say when the run was finished: {error}") from error
