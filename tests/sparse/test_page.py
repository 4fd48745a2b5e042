"""The Python of docs/sparse-layers.md runs as it stands."""

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "sparse-layers.md"


def test_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(code, names)
    assert capsys.readouterr().out.count("SparseLinear((") == 2
    assert names["densities"] == pytest.approx([1.0, 0.5, 0.25, 0.125], abs=1e-3)
