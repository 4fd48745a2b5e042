"""Settings of a study as pairs of name and text."""

from collections.abc import Iterator
from typing import Any

from prunus.report.page.archive import Value


def settings(found: Value) -> tuple[tuple[str, str], ...]:
    """All plain values in `found`, under names like `task.model`.

    >>> settings(Value({"task": {"model": "lenet-5"}, "seeds": [0, 1], "frozen": False}, "hunt"))
    (('task.model', 'lenet-5'), ('seeds', '0, 1'), ('frozen', 'no'))
    """
    return tuple(_flat("", found.plain))


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), inner)
    else:
        yield name, _text(value)


def _text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case [] | None:
            return "none"
        case list():
            return ", ".join(map(_text, value))
        case _:
            return str(value)
