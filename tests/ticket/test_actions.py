"""Zhou's actions: entry by entry in plain Python, and by which arrangements chance can reach."""

from collections import Counter
from itertools import combinations, permutations
from statistics import pstdev

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.ticket.actions import KEPT, PRUNED, acted

START = [0.5, -2.0, 1.5, -0.25, 3.0, -1.0, 0.75, -4.0]
TRAINED = [0.25, -3.0, -1.0, 0.5, 3.0, 0.0, -0.75, 4.5]
FRESH = [-6.0, 7.0, 8.0, -9.0, 10.0, -11.0, -12.0, 13.0]
PLACES = [True, True, True, False, False, False, False, True]


def tree(values):
    return {"w": torch.tensor(values, dtype=torch.float64).reshape(2, -1)}


def act(kept="rewind", pruned="zero", *, start=START, places=PLACES, seed=0):
    """The entries of one layer after both actions."""
    mask = Mask({"w": torch.tensor(places).reshape(2, -1)})
    generator = torch.Generator().manual_seed(seed)
    trained, fresh = tree(TRAINED[: len(start)]), tree(FRESH[: len(start)])
    changed = acted(tree(start), trained, mask, kept=kept, pruned=pruned, generator=generator, fresh=fresh)
    return changed["w"].reshape(-1).tolist()


def sign(value):
    return (value > 0) - (value < 0)


def survivors(values, places=PLACES):
    return [value for value, kept in zip(values, places, strict=True) if kept]


@pytest.mark.parametrize(
    ("kept", "value"),
    [
        ("rewind", lambda w, new: w),
        ("redraw", lambda w, new: new),
        ("redraw_signed", lambda w, new: sign(w) * abs(new)),
        ("signed_constant", lambda w, new: sign(w) * pstdev(START)),
        ("rewind_rescaled", lambda w, new: w * 8 / 4),
        ("signed_constant_rescaled", lambda w, new: sign(w) * pstdev(START) * 8 / 4),
    ],
)
def test_mask_1_actions_without_chance_equal_their_definitions(kept, value):
    expected = [value(w, new) if k else 0.0 for w, new, k in zip(START, FRESH, PLACES, strict=True)]
    assert act(kept) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pruned", "is_zero"),
    [
        ("zero", lambda first, last, kept: not kept),
        ("freeze", lambda first, last, kept: False),
        ("freeze_zero_mask", lambda first, last, kept: not kept and abs(last) < abs(first)),
        ("freeze_zero_all", lambda first, last, kept: abs(last) < abs(first)),
        ("zero_reversed", lambda first, last, kept: not kept and abs(last) > abs(first)),
    ],
)
def test_mask_0_actions_without_chance_equal_their_definitions(pruned, is_zero):
    entries = list(zip(START, TRAINED, PLACES, strict=True))
    zeros = [is_zero(*entry) for entry in entries]
    assert act(pruned=pruned) == [0.0 if z else first for z, (first, _, _) in zip(zeros, entries, strict=True)]
    assert pruned in ("zero", "freeze") or 0 < sum(zeros) < 4


def test_zeros_of_kept_weights_come_after_the_mask_1_action():
    expected = [0.0 if abs(last) < abs(first) else new for first, last, new in zip(START, TRAINED, FRESH, strict=True)]
    assert survivors(act("redraw", "freeze_zero_all")) == survivors(expected)


def test_permute_draws_from_the_whole_layer_and_reshuffle_from_what_is_kept():
    """Oracle: all ways to fill two of four places with different values of four, or with the two kept ones."""
    start, places = [1.0, 2.0, -3.0, 4.0], [True, False, True, False]
    seeds = range(400)
    reached = {
        kept: Counter(tuple(survivors(act(kept, start=start, places=places, seed=seed), places)) for seed in seeds)
        for kept in ("permute", "reshuffle")
    }
    assert reached["permute"].keys() == set(permutations(start, 2))
    assert reached["reshuffle"].keys() == set(permutations([1.0, -3.0]))
    assert min(reached["permute"].values()) > 33 - 5 * 33**0.5  # each of 12 about 33 times
    assert min(reached["reshuffle"].values()) > 200 - 5 * 10


def test_random_signed_constants_keep_how_many_signs_there_are_of_each():
    start, dense = [1.0, 2.0, -3.0, 4.0], [True] * 4
    reached = {tuple(act("random_signed_constant", start=start, places=dense, seed=seed)) for seed in range(100)}
    assert {tuple(map(sign, values)) for values in reached} == set(permutations([1, 1, 1, -1]))
    assert all(list(map(abs, values)) == pytest.approx([pstdev(start)] * 4) for values in reached)


def test_random_signs_come_from_pruned_weights_too():
    start, places = [1.0, 2.0, -3.0, -4.0], [True, True, False, False]
    reached = {
        tuple(map(sign, survivors(act("random_signed_constant", start=start, places=places, seed=seed), places)))
        for seed in range(100)
    }
    assert reached == {(1, 1), (1, -1), (-1, 1), (-1, -1)}


def test_random_zeros_are_as_many_as_moved_toward_zero():
    """Oracle: all subsets of that size of the pruned places."""
    moved = [k for k in range(8) if not PLACES[k] and abs(TRAINED[k]) < abs(START[k])]
    reached = set()
    for seed in range(100):
        values = act(pruned="zero_reshuffle", seed=seed)
        reached.add(tuple(k for k in range(8) if values[k] == 0))
        assert all(values[k] in (0.0, START[k]) for k in range(8))
    assert reached == set(combinations([k for k in range(8) if not PLACES[k]], len(moved)))


def drawn(seed, rows, columns, density, dtype):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first": (rows, columns), "filters": (columns, rows, 3, 3), "bias": (rows,)}
    trees = [
        {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()} for _ in range(3)
    ]
    mask = Mask({n: torch.rand(shapes[n], generator=generator) < density for n in ("first", "filters")})
    return trees, mask


CASES = {
    "seed": st.integers(0, 999),
    "rows": st.integers(1, 5),
    "columns": st.integers(1, 5),
    "density": st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    "dtype": st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
}


@pytest.mark.parametrize("kept", KEPT)
@settings(max_examples=20)
@given(**CASES, pruned=st.sampled_from(sorted(PRUNED)))
def test_every_pair_of_actions_keeps_the_contract(kept, seed, rows, columns, density, dtype, pruned):
    (start, trained, fresh), mask = drawn(seed, rows, columns, density, dtype)
    before = [{name: tensor.clone() for name, tensor in tree.items()} for tree in (start, trained, fresh)]
    everybodys = torch.get_rng_state()

    def once():
        generator = torch.Generator().manual_seed(seed)
        return acted(start, trained, mask, kept=kept, pruned=pruned, generator=generator, fresh=fresh)

    changed, again = once(), once()
    assert list(changed) == list(start)
    assert torch.equal(changed["bias"], start["bias"])
    for name, values in changed.items():
        assert (values.dtype, values.shape) == (dtype, start[name].shape)
        assert torch.equal(values, again[name])
    for name, places in mask.items():
        frozen = changed[name][~places]
        assert ((frozen == 0) | (frozen == start[name][~places])).all()
        assert pruned != "zero" or not frozen.view(torch.uint8).any()  # +0.0, not -0.0
    assert torch.equal(torch.get_rng_state(), everybodys)
    for values in changed.values():
        values.fill_(float("nan"))
    for tree_before, tree_after in zip(before, (start, trained, fresh), strict=True):
        assert all(torch.equal(tree_before[name], tree_after[name]) for name in tree_before)


@given(**CASES)
def test_reshuffling_keeps_values_and_its_signed_variant_magnitudes_and_signs(seed, rows, columns, density, dtype):
    (start, _, _), mask = drawn(seed, rows, columns, density, dtype)
    for kept in ("reshuffle", "reshuffle_signed"):
        generator = torch.Generator().manual_seed(seed)
        changed = acted(start, None, mask, kept=kept, pruned="zero", generator=generator)
        for name, places in mask.items():
            old, new = start[name][places], changed[name][places]
            if kept == "reshuffle":
                assert Counter(new.tolist()) == Counter(old.tolist())
            else:
                assert Counter(new.abs().tolist()) == Counter(old.abs().tolist())
                assert torch.equal(new.sign(), old.sign())


@given(**CASES)
def test_permuting_keeps_the_whole_layers_values_and_its_signed_variant_the_signs(seed, rows, columns, density, dtype):
    (start, _, _), mask = drawn(seed, rows, columns, 1.0, dtype)
    permuted, signed = (
        acted(start, None, mask, kept=kept, pruned="zero", generator=torch.Generator().manual_seed(seed))
        for kept in ("permute", "permute_signed")
    )
    for name in mask:
        assert Counter(permuted[name].reshape(-1).tolist()) == Counter(start[name].reshape(-1).tolist())
        assert torch.equal(signed[name].sign(), start[name].sign())
        assert torch.equal(signed[name].abs(), permuted[name].abs())


@pytest.mark.parametrize("action", [name for name in KEPT if f"{name}_rescaled" in KEPT])
def test_rescaling_multiplies_each_layer_by_its_total_over_kept(action):
    (start, _, _), mask = drawn(3, 5, 4, 0.4, torch.float64)
    plain, scaled = (
        acted(start, None, mask, kept=kept, pruned="freeze", generator=torch.Generator().manual_seed(3))
        for kept in (action, f"{action}_rescaled")
    )
    factors = [places.numel() / int(places.sum()) for places in mask.values()]
    assert factors[0] != factors[1]
    for (name, places), factor in zip(mask.items(), factors, strict=True):
        torch.testing.assert_close(scaled[name][places], plain[name][places] * factor)
        assert torch.equal(scaled[name][~places], start[name][~places])


def test_a_tensor_without_entries_stays_one():
    start = {"w": torch.zeros(0, 3)}
    mask = Mask({"w": torch.ones(0, 3, dtype=torch.bool)})
    changed = acted(start, None, mask, kept="signed_constant", pruned="zero", generator=torch.Generator())
    assert changed["w"].shape == (0, 3)


def test_live_parameters_give_plain_values():
    live = {"w": torch.nn.Parameter(torch.ones(2, 2)), "bias": torch.nn.Parameter(torch.ones(2))}
    mask = Mask({"w": torch.eye(2, dtype=torch.bool)})
    changed = acted(live, live, mask, kept="redraw", pruned="zero", generator=torch.Generator(), fresh=live)
    assert not any(values.requires_grad for values in changed.values())


def test_the_start_decides_the_dtype():
    start, fresh = {"w": torch.ones(2, dtype=torch.float16)}, {"w": torch.ones(2, dtype=torch.float64)}
    mask = Mask({"w": torch.tensor([True, False])})
    changed = acted(start, fresh, mask, kept="redraw", pruned="freeze", generator=torch.Generator(), fresh=fresh)
    assert changed["w"].dtype == torch.float16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kept": "rewinds"}, "unknown mask-1 action 'rewinds', did you mean 'rewind'"),
        ({"pruned": "freze"}, "unknown mask-0 action 'freze', did you mean 'freeze'"),
        ({"kept": "redraw"}, "to redraw takes `fresh`"),
        ({"kept": "redraw_signed"}, "to redraw takes `fresh`"),
        *(({"pruned": name}, "takes `trained`") for name in PRUNED if name not in ("zero", "freeze")),
        ({"mask": Mask({"v": torch.ones(2, 4, dtype=torch.bool)})}, "missing v"),
        ({"mask": Mask({"w": torch.ones(4, 2, dtype=torch.bool)})}, r"w: shape \(2, 4\) != \(4, 2\)"),
        ({"trained": {}}, "missing w"),
        ({"trained": {"w": torch.ones(2)}}, r"w: shape \(2,\) != \(2, 4\)"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    arguments = {
        "start": tree(START),
        "trained": None,
        "mask": Mask({"w": torch.ones(2, 4, dtype=torch.bool)}),
        "kept": "rewind",
        "pruned": "zero",
        "generator": torch.Generator(),
    }
    with pytest.raises(PrunusError, match=message):
        acted(**{**arguments, **changes})
