"""`prunus report`."""

import json

import pytest

from prunus.cli.report import report
from prunus.errors import PrunusError


def test_it_writes_the_page_and_counts(full, page, tmp_path, capsys):
    report(full.path, output=tmp_path / "found.html", json=True)
    assert (tmp_path / "found.html").read_bytes() == page.read_bytes()
    assert json.loads(capsys.readouterr().out) == {
        "store": str(full.path),
        "studies": 4,
        "runs": len(full.runs()),
        "file_bytes": page.stat().st_size,
    }


def test_a_store_that_is_not_there_is_refused_and_not_made(tmp_path):
    with pytest.raises(PrunusError, match="no store in"):
        report(tmp_path / "nowhere", output=tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_another_suffix_is_refused_before_the_work(full, tmp_path):
    with pytest.raises(PrunusError, match=r"must end in \.html"):
        report(full.path, output=tmp_path / "page.txt")
