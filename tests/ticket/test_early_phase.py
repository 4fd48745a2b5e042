"""Changes of early weights: entry by entry in plain Python, by multisets, and by the statistics of noise."""

from collections import Counter
from itertools import permutations, product
from math import copysign, sqrt
from statistics import pstdev

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.ticket.early_phase import CHANGES, perturbed

SHUFFLES = ("shuffled", "shuffled_within_sign", "shuffled_in_filter")


def drawn(seed, rows=4, columns=5, density=0.6, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first": (rows, columns), "filters": (columns, rows, 2, 2), "bias": (rows,)}
    weights, initial = (
        {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()} for _ in range(2)
    )
    mask = Mask({n: torch.rand(shapes[n], generator=generator) < density for n in ("first", "filters")})
    return weights, initial, mask


def change(name, weights, initial, mask, *, amount=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return perturbed(weights, initial, mask, change=name, amount=amount, generator=generator)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("signs", lambda now, first: copysign(abs(first), now)),
        ("initial_signs", lambda now, first: copysign(abs(now), first)),
    ],
)
def test_signs_of_one_moment_with_magnitudes_of_the_other(name, value):
    weights, initial, mask = drawn(0)
    changed = change(name, weights, initial, mask)
    for layer in mask:
        entries = zip(*(t[layer].reshape(-1).tolist() for t in (weights, initial, mask)), strict=True)
        expected = [value(now, first) if kept else now for now, first, kept in entries]
        assert changed[layer].reshape(-1).tolist() == expected


CASES = {
    "seed": st.integers(0, 999),
    "rows": st.integers(1, 5),
    "columns": st.integers(1, 5),
    "density": st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    "dtype": st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
}


@pytest.mark.parametrize("name", CHANGES)
@given(**CASES)
def test_every_change_keeps_the_contract(name, seed, rows, columns, density, dtype):
    weights, initial, mask = drawn(seed, rows, columns, density, dtype)
    before = [{layer: tensor.clone() for layer, tensor in tree.items()} for tree in (weights, initial)]
    everybodys = torch.get_rng_state()
    changed = change(name, weights, initial, mask, seed=seed)
    again = change(name, weights, initial, mask, seed=seed)
    assert list(changed) == list(weights)
    assert torch.equal(changed["bias"], weights["bias"])
    for layer, values in changed.items():
        assert (values.dtype, values.shape) == (dtype, weights[layer].shape)
        assert torch.equal(values, again[layer])
    assert all(torch.equal(changed[layer][~kept], weights[layer][~kept]) for layer, kept in mask.items())
    assert torch.equal(torch.get_rng_state(), everybodys)
    for values in changed.values():
        values.fill_(float("nan"))
    for tree_before, tree_after in zip(before, (weights, initial), strict=True):
        assert all(torch.equal(tree_before[layer], tree_after[layer]) for layer in tree_before)


@given(**CASES, name=st.sampled_from(SHUFFLES))
def test_shuffles_keep_the_values_of_what_they_shuffle_within(seed, rows, columns, density, dtype, name):
    weights, initial, mask = drawn(seed, rows, columns, density, dtype)
    changed = change(name, weights, initial, mask, seed=seed)
    for layer, kept in mask.items():
        old, new = weights[layer], changed[layer]
        assert Counter(new[kept].tolist()) == Counter(old[kept].tolist())
        if name == "shuffled_within_sign":
            assert torch.equal(new.sign(), old.sign())
        if name == "shuffled_in_filter":
            for k in range(len(kept)):
                assert Counter(new[k][kept[k]].tolist()) == Counter(old[k][kept[k]].tolist())


def test_shuffles_reach_every_arrangement_they_allow():
    """Oracle: all arrangements of the kept values 1, 2, -3 and 4, -5, about equally often."""
    weights = {"w": torch.tensor([[1.0, 2.0, -3.0, 9.0], [4.0, 9.0, -5.0, 9.0]])}
    mask = Mask({"w": weights["w"] != 9})
    allowed = {
        "shuffled": set(permutations([1.0, 2.0, -3.0, 4.0, -5.0])),
        "shuffled_within_sign": {
            (a, b, c, d, e) for (a, b, d), (c, e) in product(permutations([1.0, 2.0, 4.0]), permutations([-3.0, -5.0]))
        },
        "shuffled_in_filter": {
            first + second for first, second in product(permutations([1.0, 2.0, -3.0]), permutations([4.0, -5.0]))
        },
    }
    for name in SHUFFLES:
        reached = Counter(
            tuple(change(name, weights, weights, mask, seed=seed)["w"][mask["w"]].tolist())
            for seed in range(20 * len(allowed[name]))
        )
        assert reached.keys() == allowed[name]
        assert max(reached.values()) < 20 + 5 * sqrt(20)


def test_noise_is_gaussian_with_the_deviation_asked_for():
    """Kept values are of deviation 3 around 10 exactly; the noise's moments are within 5 standard errors."""
    count = 40_000
    kept = torch.arange(count) % 2 == 0
    weights = {"w": torch.where(torch.arange(count) % 4 == 0, 7.0, 13.0).double().where(kept, 1000.0).reshape(200, -1)}
    mask = Mask({"w": kept.reshape(200, -1)})
    assert pstdev(weights["w"][mask["w"]].tolist()) == 3
    changed = change("noised", weights, weights, mask, amount=0.5)
    noise = (changed["w"] - weights["w"])[mask["w"]] / 1.5
    assert abs(noise.mean()) < 5 / sqrt(len(noise))
    assert abs(noise.square().mean() - 1) < 5 * sqrt(2 / len(noise))
    for bound, share in ((1, 0.6827), (2, 0.9545)):
        assert abs((noise.abs() < bound).double().mean() - share) < 5 * sqrt(share * (1 - share) / len(noise))


def test_noise_grows_with_its_amount_and_is_none_at_none():
    weights, initial, mask = drawn(1, dtype=torch.float64)
    none, one, two = (change("noised", weights, initial, mask, amount=amount) for amount in (0, 1.0, 2.0))
    for layer in mask:
        assert torch.equal(none[layer], weights[layer])
        torch.testing.assert_close(two[layer] - weights[layer], 2 * (one[layer] - weights[layer]))
        assert (one[layer] != weights[layer]).equal(mask[layer])


def test_layers_of_equal_weights_get_noise_of_their_own():
    values = torch.arange(6.0).reshape(2, 3)
    mask = Mask({name: torch.ones(2, 3, dtype=torch.bool) for name in "ab"})
    weights = {"a": values, "b": values.clone()}
    changed = change("noised", weights, weights, mask)
    assert not torch.isclose(changed["a"], changed["b"]).any()


def test_live_parameters_give_plain_values():
    weights = {"w": torch.nn.Parameter(torch.ones(2, 2)), "bias": torch.nn.Parameter(torch.ones(2))}
    changed = change("signs", weights, weights, Mask({"w": torch.eye(2, dtype=torch.bool)}))
    assert not any(values.requires_grad for values in changed.values())


def test_the_weights_decide_the_dtype():
    weights, initial = {"w": torch.ones(2, dtype=torch.float16)}, {"w": torch.ones(2, dtype=torch.float64)}
    changed = change("signs", weights, initial, Mask({"w": torch.tensor([True, False])}))
    assert changed["w"].dtype == torch.float16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"change": "sign"}, "unknown change 'sign', did you mean 'signs'"),
        ({"amount": -1.0}, "noise of -1.0 standard deviations: expected a finite number, 0 or more"),
        ({"amount": float("nan")}, "noise of nan"),
        ({"amount": float("inf")}, "noise of inf"),
        ({"initial": {}}, "missing w"),
        ({"mask": Mask({"v": torch.ones(2, dtype=torch.bool)})}, "missing v"),
        ({"mask": Mask({"w": torch.ones(3, dtype=torch.bool)})}, r"w: shape \(2,\) != \(3,\)"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    arguments = {
        "weights": {"w": torch.ones(2)},
        "initial": {"w": torch.ones(2)},
        "mask": Mask({"w": torch.ones(2, dtype=torch.bool)}),
        "change": "noised",
        "amount": 1.0,
        "generator": torch.Generator(),
    }
    with pytest.raises(PrunusError, match=message):
        perturbed(**{**arguments, **changes})
