"""Low rank in the laboratory: from a warm start, cold, and counted."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prunus.laboratory import Drawn, Factored, Pruned, Trained, size
from prunus.low_rank import low_rank
from prunus.settings import Settings
from prunus.snapshot import Snapshot
from prunus.store import Outcome

from .benches import NOISY, Given, make, same, score

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = Settings(steps=90, batch=50, learning_rate=5e-3)


@pytest.fixture
def start(tmp_path: Path) -> Given:
    drawn = Given(make(Drawn(NOISY, 1)).result)
    (tmp_path / "start").mkdir()
    return Given(make(Trained(NOISY, drawn, SETTINGS, 3, until=60), tmp_path / "start").result)


def test_it_goes_on_from_a_warm_start(start: Given, tmp_path: Path) -> None:
    def factored(name: str, **how: object) -> Outcome:
        (tmp_path / name).mkdir()
        return make(Factored(NOISY, start, SETTINGS, 3, 0.5, last=0, **how), tmp_path / name)  # type: ignore[arg-type]

    warm, again, cold = factored("warm"), factored("again"), factored("cold", warm=False)
    assert same(warm.result.weights, again.result.weights)  # type: ignore[union-attr]
    assert warm.metrics["curve"][0][2] < cold.metrics["curve"][0][2]
    assert warm.metrics["curve"][0][0] == 60
    assert warm.metrics["steps"] == 30
    # of 16 x 10 (rank 5) and a bias: 5 (16 + 10) + 10 beside fc1's 16 x 64 + 16 and BatchNorm's 32
    assert (warm.metrics["parameters_full"], warm.metrics["parameters"]) == (1242, 1212)
    network = low_rank(NOISY.network(), ratio=0.5, last=0)
    assert isinstance(warm.result, Snapshot)
    network.load_state_dict({**warm.result.weights, **warm.result.buffers})
    assert warm.metrics["error"] == pytest.approx(score(network, NOISY.read().test())[0], abs=1e-3)


def test_later_pieces_go_on_with_the_factors(start: Given, tmp_path: Path) -> None:
    (tmp_path / "factored").mkdir()
    (tmp_path / "tuned").mkdir()
    found = make(Factored(NOISY, start, SETTINGS, 3, 0.5, last=0), tmp_path / "factored").result
    mask = make(Pruned(NOISY, Given(found), 0.5)).result
    tuned = make(Trained(NOISY, Given(found), replace(SETTINGS, steps=100), 3, Given(mask)), tmp_path / "tuned")
    assert isinstance(tuned.result, Snapshot)
    assert tuned.metrics["steps"] == 10
    for name, kept in mask.items():
        before, after = found.weights[name], tuned.result.weights[name]
        assert not after[~kept].any()
        assert not torch.equal(after[kept], before[kept])
    assert "fc2.u.weight" in mask
    # fc1 is 16 x 64 as before, fc2 of 5 (16 + 10)
    assert size(NOISY, tuned.result).multiplications == 16 * 64 + 5 * (16 + 10)
