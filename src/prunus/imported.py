"""A person's own part, named on the command line: `file.py:name` or `package.module:name`."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from prunus.errors import PrunusError


def imported(kind: str, text: str) -> Any:
    """What `text` names; `kind` ("score", "model", ...) is for the messages.

    Runs the file or module: only ever call it with what the person at the keyboard wrote, never with a name
    that came out of a file. Raises `PrunusError` where there is no such file, module or name.
    """
    source, _, name = text.rpartition(":")
    module = _of_file(kind, text, Path(source)) if source.endswith(".py") else _of_package(kind, text, source)
    if not hasattr(module, name):
        raise PrunusError(f"{kind} '{text}': '{source}' has no '{name}'.")
    return getattr(module, name)


def _of_package(kind: str, text: str, source: str) -> ModuleType:
    try:
        return importlib.import_module(source)
    except ImportError as error:
        raise PrunusError(f"{kind} '{text}': module '{source}' cannot be imported: {error}.") from error


def _of_file(kind: str, text: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise PrunusError(f"{kind} '{text}': there is no file '{path}'.")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None  # the name ends in .py
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise PrunusError(f"{kind} '{text}': '{path}' cannot be imported: {error}.") from error
    return module
