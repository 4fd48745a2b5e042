"""Trainings that move their mask, against the loop, a hold and a rewiring put together by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.laboratory import Drawn, Ended, Rewired, Trained
from prunus.mask import Mask
from prunus.rewiring import evolutionary, rigl, sparse_momentum
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot
from prunus.store import Outcome
from prunus.training import train

from .benches import NOISY, Given, make, network, same

SETTINGS = Settings(steps=60, batch=50, optimizer="sgd", learning_rate=0.05, weight_decay=1e-3, decay="cosine")
DRAWN: Any = make(Drawn(NOISY, 1)).result
START = Given(DRAWN, "start")
SHAPES = {"fc1.weight": (16, 64), "fc2.weight": (10, 16)}
MASK = Mask({n: torch.rand(s, generator=torch.Generator().manual_seed(5)) < 0.3 for n, s in SHAPES.items()})
BY_HAND: dict[str, Callable[..., Any]] = {
    "set": lambda *parts, **how: evolutionary(*parts, seed=3, **how),
    "snfs": sparse_momentum,
    "rigl": lambda *parts, **how: rigl(*parts, **{"fraction": 0.4, **how}),
}


def made(folder: Path, **how: Any) -> Outcome:
    folder.mkdir(exist_ok=True)
    usual = {"settings": SETTINGS, "mask": Given(MASK, "mask"), "every": 7, "moving": 0.6}
    piece = Rewired(NOISY, START, seed=3, **{**usual, **how})
    return make(piece, folder)


@pytest.mark.parametrize("method", BY_HAND)
def test_equals_what_is_put_together_by_hand(tmp_path: Path, method: str) -> None:
    model = network(NOISY, DRAWN)
    optimizer = make_optimizer(model, SETTINGS)
    with hold(optimizer, model, MASK) as held:
        rewire = BY_HAND[method](held, optimizer, model, end=36, every=7)
        train(model, NOISY.read(), SETTINGS, seed=3, optimizer=optimizer, on_step=rewire)
    found = made(tmp_path, method=method, **({"fraction": 0.4} if method == "rigl" else {}))
    assert isinstance(found.result, Snapshot)
    assert same({**found.result.weights, **found.result.buffers}, dict(model.state_dict()))
    assert found.metrics["steps"] == 60
    found.result.save(tmp_path / "result")
    ended = make(Ended(Given(Snapshot.load(tmp_path / "result"))))
    assert same(ended.result, held.mask)
    assert ended.metrics["density"] == MASK.density
    assert held.mask != MASK


@pytest.mark.parametrize("method", BY_HAND)
def test_sparse_layers_train_the_same(tmp_path: Path, method: str) -> None:
    """Masks are equal, weights up to the order of additions."""
    settings = replace(SETTINGS, sparse_below=0.5)
    dense = made(tmp_path / "dense", method=method).result
    sparse = made(tmp_path / "sparse", method=method, settings=settings).result
    assert isinstance(dense, Snapshot)
    assert isinstance(sparse, Snapshot)
    assert same(sparse.extra["mask"], dense.extra["mask"])
    assert all(torch.allclose(sparse.weights[n], weight, rtol=1e-3, atol=1e-5) for n, weight in dense.weights.items())
    assert not same(sparse.weights, dense.weights)


def test_a_mask_that_does_not_move_is_static(tmp_path: Path) -> None:
    static = make(Trained(NOISY, START, SETTINGS, 3, mask=Given(MASK, "mask")), tmp_path).result
    assert isinstance(static, Snapshot)
    moved = made(tmp_path / "moved").result
    still = made(tmp_path / "still", moving=0.0).result
    assert isinstance(moved, Snapshot)
    assert isinstance(still, Snapshot)
    assert same(still.weights, static.weights)
    assert not same(moved.weights, static.weights)
    with pytest.raises(PrunusError, match="no mask of its own"):
        make(Ended(Given(static)))


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"method": "rigel"}, "unknown rewiring 'rigel', did you mean 'rigl'"),
        ({"moving": 1.5}, "from 0 to 1, found 1.5"),
        ({"mask": None}, "rewiring takes a mask"),
        ({"frozen": True}, "no weights frozen"),
    ],
)
def test_what_cannot_be_rewired(tmp_path: Path, how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PrunusError, match=sentence):
        made(tmp_path, **how)
