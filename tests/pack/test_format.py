"""The specification is enough: a reader written from docs/format.md alone, in plain Python, reads the golden files."""

from pathlib import Path

import pytest

from prunus import pack
from prunus.pack.elements import to_integers

from .specification.file import read

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("1-*.prunus")), ids=lambda path: path.stem)
def test_a_reader_from_the_specification_reads_it(path: Path) -> None:
    found = {name: (tuple(t.shape), to_integers(name, t)[2].tolist()) for name, t in pack.read(path).items()}
    assert read(path) == found
