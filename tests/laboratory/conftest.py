"""What engines are compared with, and pieces that other processes can make."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from prunus.laboratory import serial
from prunus.store import Store

from .searches import contents, search


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes of a search that was made serially."""
    store = Store(tmp_path_factory.mktemp("serial") / "store")
    search(store, serial)
    return contents(store)


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of that name, where worker processes find it."""
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module("deadly")
