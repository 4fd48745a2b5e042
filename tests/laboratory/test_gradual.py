"""Gradual pruning as a piece, against sorting by hand what a loop of its own has trained so far."""

from pathlib import Path
from typing import Any

import pytest
import torch

from prunus import save
from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.laboratory import Drawn, Ended, GraduallyPruned, Packed
from prunus.mask import Mask
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot
from prunus.store import Outcome
from prunus.training import train

from .benches import NOISY, Given, largest, make, network, places, same

SETTINGS = Settings(steps=20, batch=50, optimizer="sgd", learning_rate=0.05)
DRAWN: Any = make(Drawn(NOISY, 1)).result
START = Given(DRAWN, "start")
SIZES = {"fc1.weight": 16 * 64, "fc2.weight": 10 * 16}
TOTAL = sum(SIZES.values())


def made(folder: Path, settings: Settings = SETTINGS, **how: Any) -> Outcome:
    """Pruned at steps 4, 8, 12 and 16 of 20, from 2 on."""
    folder.mkdir(exist_ok=True)
    return make(GraduallyPruned(NOISY, START, settings, 3, **{"begin": 0.1, "end": 0.8, "every": 4, **how}), folder)


def ended(found: Outcome) -> Mask:
    mask = make(Ended(Given(found.result))).result
    assert isinstance(mask, Mask)
    return mask


def test_equals_sorting_by_hand(tmp_path: Path) -> None:
    model = network(NOISY, DRAWN)
    optimizer = make_optimizer(model, SETTINGS)
    mask = Mask({name: torch.ones_like(value) > 0 for name, value in model.named_parameters() if name in SIZES})
    counts = []
    with hold(optimizer, model, mask) as held:
        for step in range(20):
            train(model, NOISY.read(), SETTINGS, seed=3, optimizer=optimizer, begin=step, end=step + 1)
            if step + 1 in (4, 8, 12, 16):
                left = 1 - (step + 1 - 2) / 14
                counts.append(int((0.1 + 0.9 * left**3) * TOTAL + 0.5))
                flat = [float(w.abs()) for name in SIZES for w in model.get_parameter(name).detach().flatten()]
                chosen = largest(flat, counts[-1])
                kept = torch.tensor([place in chosen for place in range(TOTAL)])
                parts = zip(SIZES, kept.split(list(SIZES.values())), strict=True)
                held.update(Mask({name: part.reshape(mask[name].shape) for name, part in parts}))
    found = made(tmp_path)
    assert isinstance(found.result, Snapshot)
    assert counts[-1] == 118
    assert same({**found.result.weights, **found.result.buffers}, dict(model.state_dict()))
    assert ended(found) == held.mask


def test_as_dense_as_another_mask(tmp_path: Path) -> None:
    """All over, or in every tensor, where what is smallest stays."""
    like = Mask({"fc1.weight": torch.arange(1024).reshape(16, 64) < 100, "fc2.weight": torch.ones(10, 16) > 0})
    found = ended(made(tmp_path / "all", like=Given(like)))
    assert found.density == like.density
    assert found.densities() != like.densities()
    least = made(tmp_path / "least", like=Given(like), scope="tensor", score="small_final")
    assert ended(least).densities() == like.densities()
    assert {name: len(kept) for name, kept in places(ended(least)).items()} == {"fc1.weight": 100, "fc2.weight": 160}


def test_on_sparse_layers_as_dense(tmp_path: Path) -> None:
    sparse = Settings(**{**vars(SETTINGS), "sparse_below": 0.9})
    found = made(tmp_path, settings=sparse)
    assert ended(found).density == ended(made(tmp_path / "dense")).density == 118 / TOTAL
    assert isinstance(found.result, Snapshot)
    assert {name: int(value.count_nonzero()) for name, value in found.result.weights.items() if name in SIZES} == {
        name: len(kept) for name, kept in places(ended(found)).items()
    }


def test_the_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    found = made(tmp_path)
    assert isinstance(found.result, Snapshot)
    file = tmp_path / "network.prunus"
    contents = save(network(NOISY, found.result), file)
    packed = make(Packed(NOISY, Given(found.result)), tmp_path)
    assert packed.metrics["file_bytes"] == contents.file_bytes == file.stat().st_size


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"begin": 0.8}, "from the part 0.8 of all steps to 0.8"),
        ({"score": "movement"}, "movement asks for initial too"),
        ({"scope": "netwrok"}, "unknown scope 'netwrok', did you mean 'network'"),
    ],
)
def test_what_cannot_be_pruned_so(tmp_path: Path, how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PrunusError, match=sentence):
        made(tmp_path, **how)
