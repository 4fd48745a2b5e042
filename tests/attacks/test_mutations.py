"""Files damaged at random: each is refused or read as the original."""

from pathlib import Path

import pytest
import torch

from prunus import pack
from prunus.distribution import SignedConstant
from prunus.errors import FormatError
from prunus.testing.mutants import mutants


@pytest.mark.parametrize("effort", ["fast", "best"])
def test_damaged_files_are_refused_or_read_as_they_were(effort: str, tmp_path: Path) -> None:
    path = tmp_path / "a.prunus"
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(30, 40, generator=generator)
    tensors = {
        "pruned": weight * (weight.abs() > 1.5) + 0,
        "quantised": (weight * 2).round() / 2 + 0,
        "dense": weight[:5],
        "indices": torch.arange(50),
        "mask": weight > 1,
        "twin": weight > 1,
        "drawn": torch.where(weight > 1, pack.Drawn(SignedConstant(0.25), seed=9).values((30, 40)), 0),
    }
    drawn = {"drawn": pack.Drawn(SignedConstant(0.25), seed=9)}
    codecs = {"pruned": pack.RelativeIndex(), "quantised": pack.RelativeIndex(huffman=True)}
    codecs = codecs if effort == "fast" else {}
    written = pack.write(path, tensors, effort=effort, codecs=codecs, drawn=drawn)  # type: ignore[arg-type]
    assert written.tensors[-1].codec == "drawn"
    data, refused = path.read_bytes(), 0
    for mutant in mutants(data, 300):
        path.write_bytes(mutant)
        try:
            found = pack.read(path, pack.Limits(max_bytes=1 << 24))
        except FormatError as error:
            refused += str(error).endswith(".")
        else:
            assert list(found) == list(tensors)
            assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert refused > 270
