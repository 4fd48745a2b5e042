"""The Python of docs/random-network.md runs as it stands."""

import re
from pathlib import Path

import torch

from prunus import models
from prunus.checkpoint import write_weights

PAGE = Path(__file__).parents[2] / "docs" / "random-network.md"


def test_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = models.from_description("fc-500(1x8x8,10)")
    write_weights("trained.safetensors", network.state_dict(), {"model": models.describe(network)})
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    chance, found, certified = (float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[-3:])
    assert 0 < chance <= found <= certified
    assert str(names["found"].network) in PAGE.read_text()
