"""The line between two networks: its ends are theirs, its middle is the network of the mean weights."""

import json
from itertools import pairwise

import pytest
import torch

from prunus.errors import PrunusError
from prunus.laboratory import Connected, Drawn
from prunus.snapshot import Snapshot

from .benches import NOISY, PLAIN, Given, make, network, score

FIRST, SECOND = (make(Drawn(PLAIN, seed)).result for seed in (1, 2))


def split(name: str) -> object:
    data = PLAIN.read()
    return data.train if name == "train" else data.test()


def test_points_barrier_and_distance() -> None:
    """Oracle: networks put together by hand at five places, evaluated on all rows at once."""
    assert isinstance(FIRST, Snapshot)
    assert isinstance(SECOND, Snapshot)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    found = make(Connected(PLAIN, Given(FIRST), Given(SECOND), points=5))
    assert torch.get_rng_state().equal(before)
    assert found.result is None
    assert found.metrics.keys() == {"parts", "errors", "distance", "barrier"}
    assert found.metrics["parts"] == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert found.metrics["errors"].keys() == found.metrics["barrier"].keys() == {"train", "test"}
    for name, errors in found.metrics["errors"].items():
        for part, error in zip(found.metrics["parts"], errors, strict=True):
            mean = {key: (1 - part) * value + part * SECOND.weights[key] for key, value in FIRST.weights.items()}
            model = network(PLAIN, Snapshot(mean, {}, None, 0, {}, None, {}))
            assert error == pytest.approx(score(model, split(name))[0], abs=0.15)  # type: ignore[arg-type]  # two rows
        assert found.metrics["barrier"][name] == max(errors) - (errors[0] + errors[-1]) / 2
    assert len(set(found.metrics["errors"]["train"])) > 2
    gap = sum(float((SECOND.weights[key] - value).double().square().sum()) for key, value in FIRST.weights.items())
    assert found.metrics["distance"] == pytest.approx(gap**0.5, rel=1e-6)
    again = make(Connected(PLAIN, Given(FIRST), Given(SECOND), points=5)).metrics
    assert json.dumps(again) == json.dumps(found.metrics)


def test_the_training_error_is_that_of_the_first_rows() -> None:
    rows = PLAIN.read().train
    model = network(PLAIN, FIRST)  # type: ignore[arg-type]
    with torch.no_grad():
        wrong = (model(rows.normalise(rows.inputs[:8])).argmax(1) != rows.labels[:8]).float().mean()
    found = make(Connected(PLAIN, Given(FIRST), Given(SECOND), points=2, rows=8)).metrics
    assert found["errors"]["train"][0] == pytest.approx(100 * float(wrong))


def test_a_network_and_itself() -> None:
    found = make(Connected(PLAIN, Given(FIRST), Given(FIRST), points=3)).metrics
    assert found["barrier"] == {"train": 0.0, "test": 0.0}
    assert found["distance"] == 0.0
    assert all(first == second for errors in found["errors"].values() for first, second in pairwise(errors))


def test_statistics_are_estimated_anew() -> None:
    """Those that come with the ends say nothing: no statistics fit two networks."""
    first, second = (make(Drawn(NOISY, seed)).result for seed in (1, 2))
    assert isinstance(first, Snapshot)
    spoilt = {name: torch.full_like(value, 1000) for name, value in first.buffers.items()}
    other = Snapshot(first.weights, spoilt, None, 0, {}, None, {})
    found, expected = (make(Connected(NOISY, Given(end), Given(second), points=3)).metrics for end in (other, first))
    assert found == expected


def test_one_point_is_no_line() -> None:
    with pytest.raises(PrunusError, match="two points at least, found 1"):
        make(Connected(PLAIN, Given(FIRST), Given(SECOND), points=1))


def test_networks_of_two_tasks() -> None:
    with pytest.raises(PrunusError, match="names do not fit"):
        make(Connected(PLAIN, Given(FIRST), Given(make(Drawn(NOISY, 1)).result)))
