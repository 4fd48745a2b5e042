"""Weights to start from: what is taken from where, and that nothing else is."""

import math

import pytest
import torch

from prunus.errors import PrunusError
from prunus.laboratory import Acted, Drawn, Perturbed, Rewound
from prunus.mask import Mask
from prunus.snapshot import Snapshot
from prunus.ticket.actions import KEPT, PRUNED

from .benches import NOISY, Given, make, same, snapshot

KEPT_PLACES = torch.tensor([[True, False, True], [False, True, True]])
START = {"a": torch.tensor([[1.0, -2.0, 3.0], [4.0, -5.0, 6.0]]), "bias": torch.tensor([0.5, 0.25])}
TRAINED = {"a": torch.tensor([[-0.5, 4.0, 0.0], [-1.0, 7.0, 6.0]]), "bias": torch.tensor([1.0, 2.0])}
FRESH = {"a": torch.arange(6.0).reshape(2, 3) + 10, "bias": torch.tensor([7.0, 8.0])}
MOMENT = snapshot(
    START,
    buffers={"mean": torch.tensor([9.0])},
    optimizer={"state": {}, "param_groups": []},
    step=70,
    random={"cpu": torch.zeros(3, dtype=torch.uint8), "cuda": []},
    order="as it was",
    extra={"more": 1},
)
GIVEN = {
    "start": Given(MOMENT),
    "mask": Given(Mask({"a": KEPT_PLACES})),
    "trained": Given(snapshot(TRAINED)),
    "fresh": Given(snapshot(FRESH)),
}


def result(piece: object) -> Snapshot:
    found = make(piece)  # type: ignore[arg-type]
    assert found.metrics == {}
    assert isinstance(found.result, Snapshot)
    return found.result


def test_drawn_weights_are_the_networks_of_that_seed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = result(Drawn(NOISY, 3))
    assert torch.get_rng_state().equal(before)
    torch.rand(7)
    assert same(first, result(Drawn(NOISY, 3)))
    model = NOISY.network(seed=3)
    assert same({**first.weights, **first.buffers}, dict(model.state_dict()))
    assert first.step == 0
    assert first.optimizer is None
    assert not same(first.weights["fc1.weight"], result(Drawn(NOISY, 4)).weights["fc1.weight"])


def test_rewound_has_weights_of_one_moment_and_the_schedule_of_another() -> None:
    weights = result(Drawn(NOISY, 1))
    found = result(Rewound(Given(weights), GIVEN["start"]))
    assert same(found.weights, weights.weights)
    assert same(found.buffers, weights.buffers)
    for name in ("optimizer", "step", "random", "order"):
        assert same(getattr(found, name), getattr(MOMENT, name))
    assert found.extra == {}


def test_a_ticket_as_in_the_paper_keeps_its_start_and_zeros_the_rest() -> None:
    found = result(Acted(GIVEN["start"], GIVEN["mask"]))
    assert same(found.weights, {"a": torch.tensor([[1.0, 0.0, 3.0], [0.0, -5.0, 6.0]]), "bias": START["bias"]})
    assert same(found.buffers, MOMENT.buffers)
    assert (found.step, found.optimizer, found.order, found.extra) == (70, None, "as it was", {})
    assert same(START["a"], torch.tensor([[1.0, -2.0, 3.0], [4.0, -5.0, 6.0]]))


def test_actions_see_the_trained_and_the_fresh_weights() -> None:
    found = result(Acted(**GIVEN, kept="redraw", pruned="freeze_zero_mask"))
    assert found.weights["a"].tolist() == [[10.0, -2.0, 12.0], [0.0, 14.0, 15.0]]  # of the pruned, -1 is under 4
    with pytest.raises(PrunusError, match="takes `fresh`"):
        result(Acted(GIVEN["start"], GIVEN["mask"], kept="redraw"))
    with pytest.raises(PrunusError, match="takes `trained`"):
        result(Acted(GIVEN["start"], GIVEN["mask"], pruned="freeze_zero_all"))
    with pytest.raises(PrunusError, match="unknown mask-1 action 'rewnd', did you mean 'rewind'"):
        result(Acted(GIVEN["start"], GIVEN["mask"], kept="rewnd"))


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("pruned", PRUNED)
def test_every_action_follows_from_the_seed_alone(kept: str, pruned: str) -> None:
    torch.manual_seed(1)
    first = result(Acted(**GIVEN, kept=kept, pruned=pruned, seed=5))
    before = torch.get_rng_state()
    assert same(first, result(Acted(**GIVEN, kept=kept, pruned=pruned, seed=5)))
    assert torch.get_rng_state().equal(before)
    assert all(value.isfinite().all() for value in first.weights.values())


def test_seeds_differ() -> None:
    large = Given(snapshot({"a": torch.arange(1.0, 101.0).reshape(10, 10)}))
    mask = Given(Mask({"a": torch.ones(10, 10, dtype=torch.bool)}))
    acted = [result(Acted(large, mask, kept="permute", seed=seed)).weights["a"] for seed in (0, 1)]
    noised = [result(Perturbed(large, large, mask, "noised", seed=seed)).weights["a"] for seed in (0, 1)]
    for first, second in (acted, noised):
        assert not first.equal(second)
    assert acted[0].flatten().sort().values.equal(torch.arange(1.0, 101.0))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("signs", [[0.5, -2.0, 0.0], [4.0, -7.0, 6.0]]),  # sign(w_k) |w_0| where kept
        ("initial_signs", [[-1.0, -2.0, 0.0], [4.0, 5.0, 6.0]]),  # sign(w_0) |w_k| where kept
    ],
)
def test_perturbed_by_hand(change: str, expected: list[list[float]]) -> None:
    """At step k the weights are `START`, at step 0 they were `TRAINED`."""
    found = result(Perturbed(GIVEN["start"], Given(snapshot(TRAINED)), GIVEN["mask"], change))
    assert found.weights["a"].tolist() == expected
    assert same(found.weights["bias"], START["bias"])
    assert same(found.buffers, MOMENT.buffers)
    assert (found.step, found.optimizer, found.order, found.extra) == (70, None, "as it was", {})


def test_noise_has_the_deviation_that_is_asked_for() -> None:
    """Oracle: of n normal numbers, the mean square lies within five standard errors of 1."""
    weights = torch.cat([torch.full((100, 50), 3.0), torch.full((100, 50), -1.0)], 1)  # deviation 2
    start, mask = Given(snapshot({"a": weights})), Given(Mask({"a": torch.ones_like(weights, dtype=torch.bool)}))
    for amount in (0.0, 0.5, 2.0):
        found = result(Perturbed(start, start, mask, "noised", amount=amount, seed=3)).weights["a"] - weights
        n, scale = weights.numel(), 2 * amount
        assert abs(float(found.double().square().mean()) - scale**2) <= 5 * scale**2 * math.sqrt(2 / n)
    with pytest.raises(PrunusError, match="noise of -1"):
        result(Perturbed(start, start, mask, "noised", amount=-1))
    with pytest.raises(PrunusError, match="unknown change 'nosed', did you mean 'noised'"):
        result(Perturbed(start, start, mask, "nosed"))
