"""Writes methods.md, beside this file, from the docstrings of all methods: python docs/methods.py.

A method is a public function or class of a module below whose docstring has lines that begin with the `LABELS`; what
else a module offers has a line.
"""

import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).with_suffix(".md")
PARTS = (
    "prunus.score",
    "prunus.scope",
    "prunus.layerwise",
    "prunus.structured",
    "prunus.gradual",
    "prunus.reparametrised",
    "prunus.low_rank",
    "prunus.rewiring",
    "prunus.ticket",
    "prunus.supermask",
    "prunus.reachability",
    "prunus.quantise",
    "prunus.construction",
    "prunus.recipe",
)
LABELS = ("Idea", "Formula", "Source", "Use", "Cost", "Differs")
HEAD = """# Methods

Written by `python docs/methods.py` from the docstrings, which say it where the code is; a test checks that this page is
theirs. Each is a part of the [grammar](architecture.md#pruning-three-questions-three-arguments), or trains with it;
`prunus compare` sets them side by side ([how](comparison.md)).
"""


def page() -> str:
    """The page."""
    return "\n".join([HEAD, *(line for part in PARTS for line in _part(import_module(part)))])


def methods(part: ModuleType) -> Iterator[tuple[str, Any]]:
    """The methods in `part` and the modules below it, by the name that a person imports them by."""
    for module in _modules(part):
        for name, found in vars(module).items():
            if not name.startswith("_") and getattr(found, "__module__", "") == module.__name__ and sections(found):
                home = part if hasattr(part, name) else module
                yield f"{home.__name__}.{name}".removeprefix("prunus."), found


def others(part: ModuleType) -> Iterator[tuple[str, Any]]:
    """What else `part` offers: its public functions and classes that are no methods."""
    for name, found in vars(part).items():
        if name.startswith("_") or not (inspect.isfunction(found) or inspect.isclass(found)) or sections(found):
            continue
        if f"{found.__module__}.".startswith(f"{part.__name__}."):
            yield f"{part.__name__}.{name}".removeprefix("prunus."), found


def sections(found: Any) -> dict[str, str]:
    """What the docstring of `found` says under each of the `LABELS` that it has; nothing without an idea."""
    texts: dict[str, str] = {}
    label = ""
    for line in (inspect.getdoc(found) or "").splitlines():
        first = line.partition(":")[0]
        label = first if first in LABELS else label if line else ""
        if label:
            texts[label] = f"{texts[label]} {line}" if label in texts else _capital(line.partition(":")[2].strip())
    return texts if "Idea" in texts else {}


def _capital(text: str) -> str:
    """`text` as a sentence begins, unless that is with a formula: "n^3" and "w = 0" are not "N^3" and "W = 0"."""
    word = re.match(r"(a|[a-z]{2,})\b(?![_^'|(]| =| <-)", text)
    return text[:1].upper() + text[1:] if word else text


def _modules(part: ModuleType) -> Iterator[ModuleType]:
    yield part
    for found in pkgutil.walk_packages(getattr(part, "__path__", ()), f"{part.__name__}."):
        yield import_module(found.name)


def _part(part: ModuleType) -> Iterator[str]:
    yield f"## `{part.__name__}`"
    yield _first(part)
    for name, found in methods(part):
        yield f"\n### `{_called(name, found)}`"
        yield f"{_first(found)}\n"
        for label, text in sections(found).items():
            yield f"- **{label}.** {text}"
    if rest := list(others(part)):
        yield f"\n### Also in `{part.__name__}`"
        for name, found in rest:
            yield f"- `{name if inspect.isclass(found) else _called(name, found)}`: {_first(found)}"
    yield ""


def _called(name: str, found: Any) -> str:
    return f"{name}({', '.join(inspect.signature(found).parameters)})"


def _first(found: Any) -> str:
    """The first paragraph of a docstring."""
    return " ".join((inspect.getdoc(found) or "").partition("\n\n")[0].split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
