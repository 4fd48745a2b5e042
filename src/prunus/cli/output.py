"""What verbs print: tables for people on stdout, or one JSON object as its last line."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from errno import EACCES, ENOENT
from os import W_OK, access, strerror
from pathlib import Path
from typing import Any

from prunus.errors import PrunusError


def check_output(path: Path, *suffixes: str) -> None:
    """Refuse, before the work, a file that could not be written or not be read again after it."""
    if path.suffix not in suffixes:
        kinds = " or ".join(suffixes)
        raise PrunusError(f"{path}: this verb writes {kinds} files, so the name must end in {kinds}.")
    if path.is_dir():
        raise PrunusError(f"{path} is a folder.")
    if not path.parent.is_dir():
        raise FileNotFoundError(ENOENT, strerror(ENOENT), str(path.parent))
    if not access(path.parent, W_OK):
        raise PermissionError(EACCES, strerror(EACCES), str(path.parent))


def print_json(result: Mapping[str, Any]) -> None:
    """One object on one line, the last of stdout."""
    print(json.dumps(result), flush=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout: the first column left-aligned, the others right-aligned."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(str, row))
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table)


def percent(part: float, digits: int = 2) -> str:
    """`0.0312` as `3.12 %`."""
    return f"{100 * part:.{digits}f} %"
