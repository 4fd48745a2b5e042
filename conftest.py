"""Doctests of one file alone, or of any files in any order."""

from importlib import import_module
from pathlib import Path

SOURCES = Path(__file__).parent / "src"


def pytest_collect_file(file_path: Path) -> None:
    """Import a package before its modules: pytest would set `prunus.score.magnitude` to the module of that name."""
    if SOURCES in file_path.parents:
        import_module(".".join(file_path.parent.relative_to(SOURCES).parts))
