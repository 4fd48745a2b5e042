"""What a piece of an experiment is, as plain values, as TOML, and as a hash."""

import hashlib
import json
import tomllib
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from math import isfinite
from typing import Any

import torch

from prunus.errors import FormatError, PrunusError

DIGITS = 16  # hexadecimal ones: among a million pieces, two alike are a chance of one in 40 million
_VERSIONS = {"prunus": version("prunus"), "torch": torch.__version__.partition("+")[0]}
_identities: dict[int, str] = {}  # by object, while it lives: a chain that names pieces twice would take for ever


def identity(piece: Any) -> str:
    """The hash of everything that decides what `piece` becomes: its fields, defaults too, its parents, versions."""
    stack = [piece]  # parents first, and no recursion: chains may be long
    while stack:
        here = stack.pop()
        if id(here) in _identities:
            continue
        if unknown := [parent for parent in parents(here) if id(parent) not in _identities]:
            stack += [here, *unknown]
        else:
            _identities[id(here)] = hashed(specification(here))
            weakref.finalize(here, _identities.pop, id(here))
    return _identities[id(piece)]


def specification(piece: Any) -> dict[str, Any]:
    """`piece`, a frozen dataclass, as plain values: its kind, its fields, the identities of its parents.

    A field that is None is left out, as TOML cannot say it, and so is one that only says where something lies
    (`field(metadata={"place": True})`). Raises `PrunusError` for a value that is not plain.
    """
    about = {"kind": type(piece).__name__, "versions": _VERSIONS}
    found = _plain_fields(piece)
    if taken := about.keys() & found.keys():
        raise PrunusError(f"{about['kind']} has a field '{min(taken)}', which its specification says otherwise.")
    return about | found


def parents(piece: Any) -> Iterator[Any]:
    """The pieces among the fields of `piece`, and in the tuples and dataclasses there."""
    for _, value in _deciding(piece):
        yield from _pieces(value)


def hashed(specification: Mapping[str, Any]) -> str:
    """The identity of a piece with this specification."""
    canonical = json.dumps(specification, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:DIGITS]


def to_toml(specification: Mapping[str, Any]) -> str:
    """A specification as TOML; `from_toml` gives it back."""
    plain, tables = list[str](), list[str]()
    for name, value in specification.items():
        if isinstance(value, Mapping):
            tables += ["", f"[{_key(name)}]", *(_line(key, part) for key, part in value.items())]
        else:
            plain.append(_line(name, value))
    return "\n".join(plain + tables) + "\n"


def from_toml(text: str) -> dict[str, Any]:
    """Read what `to_toml` wrote; raises `FormatError` for anything that is no TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"not a specification: {error}.") from error


def _is_piece(value: object) -> bool:
    return is_dataclass(value) and hasattr(value, "make")


def _pieces(value: Any) -> Iterator[Any]:
    if _is_piece(value):
        yield value
    elif is_dataclass(value):
        yield from parents(value)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _pieces(part)


def _deciding(value: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a dataclass that say what it is, by name."""
    for field in fields(value):
        if not field.metadata.get("place"):
            yield field.name, getattr(value, field.name)


def _plain_fields(value: Any) -> dict[str, Any]:
    return {name: _plain(name, content) for name, content in _deciding(value) if content is not None}


def _plain(name: str, value: Any) -> Any:
    if _is_piece(value):
        return identity(value)
    if is_dataclass(value):
        return _plain_fields(value)
    if isinstance(value, tuple | list):
        return [_plain(name, part) for part in value]
    if type(value) in (bool, int) or (type(value) is float and isfinite(value)):
        return value
    if type(value) is str and value.encode(errors="ignore").decode() == value:  # as UTF-8 can write it
        return value
    found = repr(value) if isinstance(value, float | str) else f"a {type(value).__name__}"
    raise PrunusError(f"{name} is {found}, which a specification cannot hold.")


def _line(name: str, value: Any) -> str:
    return f"{_key(name)} = {_written(value)}"


def _key(name: str) -> str:
    return name if name.isascii() else _written(name)


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(_line(name, part) for name, part in value.items())} }}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_written, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # all that TOML wants otherwise
