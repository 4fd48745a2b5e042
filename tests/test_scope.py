"""Who survives: counts by closed form, choices by brute force."""

import itertools

import pytest
import torch
from hypothesis import given as draw
from hypothesis import strategies as st

from prunus import scope
from prunus.errors import PrunusError
from prunus.testing.scope import check_scope

MLP = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}


def scores(shapes=MLP, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}


def counts(kept):
    return {name: int(mask.sum()) for name, mask in kept.items()}


@draw(st.integers(1, 266_200))
def test_the_network_scope_keeps_exactly_what_is_asked(count):
    flat = scores()
    assert sum(counts(scope.network(flat, count / 266_200)).values()) == count


def test_the_network_scope_keeps_the_best_of_all():
    values = scores({"a": (5, 4), "b": (3, 3)})
    kept = scope.network(values, 10 / 29)
    worst_kept = min(float(values[n][kept[n]].min()) for n in values if kept[n].any())
    best_pruned = max(float(values[n][~kept[n]].max()) for n in values if not kept[n].all())
    assert worst_kept > best_pruned


def test_a_floor_keeps_every_tensor_alive():
    values = scores()
    values["fc2"] *= 1e-6
    assert counts(scope.network(values, 0.1))["fc2"] == 0
    kept = counts(scope.floored(0.5)(values, 0.1))
    assert kept["fc2"] == 1_500
    assert sum(kept.values()) == 26_620


def test_a_floor_that_does_not_bind_changes_nothing():
    values = scores()
    free, floored = scope.network(values, 0.1), scope.floored(0.5)(values, 0.1)
    assert all(torch.equal(free[name], floored[name]) for name in values)


@draw(st.floats(0.0, 1.0), st.floats(0.01, 1.0))
def test_above_the_floor_the_best_of_all_are_kept(least, density):
    """Oracle: sort the entries that the floors leave out."""
    values = scores({"a": (6, 5), "b": (4, 5), "c": (3, 3)})
    kept = scope.floored(least)(values, density)
    total = scope.count(density, 59)
    chosen, left = set(), []
    for name, score in values.items():
        ranked = sorted(range(score.numel()), key=lambda k: -score.reshape(-1)[k].item())
        floor = int(least * density * score.numel())
        chosen |= {(name, k) for k in ranked[:floor]}
        left += [(score.reshape(-1)[k].item(), name, k) for k in ranked[floor:]]
    chosen |= {(name, k) for _, name, k in sorted(left, reverse=True)[: total - len(chosen)]}
    assert {(n, k) for n in kept for k in kept[n].reshape(-1).nonzero().squeeze(1).tolist()} == chosen


def test_the_tensor_scope_gives_every_tensor_the_density():
    assert counts(scope.tensor(scores(), 0.1)) == {"fc1": 23_520, "fc2": 3_000, "fc3": 100}


def test_the_row_scope_gives_every_row_the_density():
    kept = scope.row(scores(), 0.1)
    assert {name: mask.sum(1).unique().tolist() for name, mask in kept.items()} == {
        "fc1": [78],
        "fc2": [30],
        "fc3": [10],
    }


def test_n_of_m_keeps_the_best_subset_of_each_group():
    """Oracle: all 6 ways of keeping 2 of 4."""
    values = scores({"linear": (6, 8), "filters": (2, 8, 3, 3)})
    kept = scope.n_of_m(2, 4)(values, 0.5)
    for name, score in values.items():
        by_input = score.movedim(1, -1).reshape(-1, 4)
        mask = kept[name].movedim(1, -1).reshape(-1, 4)
        for group, chosen in zip(by_input, mask, strict=True):
            best = max(itertools.combinations(range(4), 2), key=lambda pair: sum(float(group[k]) for k in pair))
            assert set(chosen.nonzero().squeeze(1).tolist()) == set(best)


@pytest.mark.parametrize(
    ("n", "m", "density", "message"),
    [
        (2, 4, 0.4, "2 of 4 has density 0.5, found 0.4"),
        (2, 3, 2 / 3, "groups of 3 do not divide"),
        (3, 2, 1.0, "0 < n <= m"),
    ],
)
def test_n_of_m_refuses_what_does_not_fit(n, m, density, message):
    with pytest.raises(PrunusError, match=message):
        scope.n_of_m(n, m)(scores({"w": (4, 8)}), density)


def test_rows_need_two_dimensions():
    with pytest.raises(PrunusError, match="rows need two dimensions"):
        scope.row({"w": torch.zeros(4)}, 0.5)


def test_erk_by_hand():
    """At 6 % the last layer fills up; the others have densities in the ratio of their ER factors."""
    kept = counts(scope.erk(scores(), 0.06))
    assert sum(kept.values()) == round(0.06 * 266_200)
    assert kept["fc3"] == 1_000
    first, second = kept["fc1"] / 235_200, kept["fc2"] / 30_000
    expected = ((300 + 784) / (300 * 784)) / ((100 + 300) / (100 * 300))
    assert first / second == pytest.approx(expected, rel=1e-3)


def test_erk_counts_kernel_dimensions():
    kept = counts(scope.erk(scores({"conv": (64, 32, 3, 3), "point": (64, 32, 1, 1)}), 0.05))
    shares = kept["conv"] / kept["point"]
    assert shares == pytest.approx((64 + 32 + 3 + 3) / (64 + 32 + 1 + 1), rel=0.02)


def test_er_leaves_kernels_aside():
    shapes = {"conv": (64, 32, 3, 3), "point": (64, 32, 1, 1), "matrix": (64, 32)}
    kept = counts(scope.er(scores(shapes), 0.05))
    assert kept["point"] == kept["matrix"]
    assert kept["conv"] == pytest.approx(9 * kept["point"], abs=5)
    assert counts(scope.er(scores(), 0.06)) == counts(scope.erk(scores(), 0.06))


@draw(st.floats(0.001, 1.0))
def test_erk_is_exact_at_every_density(density):
    kept = counts(scope.erk(scores({"a": (30, 20), "b": (10, 30), "c": (5, 10)}), density))
    assert sum(kept.values()) == int(density * 950 + 0.5)


def test_smart_ratio_by_hand():
    """300 of the 13,310 are the last layer's; the others' parts are as 3 * 4 to 2 * 3."""
    assert counts(scope.smart_ratio(scores(), 0.05)) == {"fc1": 12_230, "fc2": 780, "fc3": 300}


def test_smart_ratio_passes_on_what_a_full_tensor_cannot_take():
    """203 for three tensors in the proportions 20, 12, 6 would be 20.3, 121.8 and 60.9."""
    values = scores({"a": (2, 5), "b": (10, 10), "c": (10, 10), "d": (10, 10)})
    assert counts(scope.smart_ratio(values, 233 / 310)) == {"a": 10, "b": 100, "c": 93, "d": 30}


def test_smart_ratio_for_vgg_by_hand():
    """32 for three tensors in the proportions 20, 12 / 4, 6 / 9 would be 20, 6 and 6."""
    values = scores({"a": (2, 5), "b": (4, 5), "c": (9, 10), "d": (2, 5)})
    assert counts(scope.smart_ratio_vgg(values, 35 / 130)) == {"a": 10, "b": 16, "c": 6, "d": 3}


def test_smart_ratio_keeps_the_best_of_each_tensor():
    values = scores({"a": (6, 5), "b": (4, 5), "c": (5, 2)})
    kept = scope.smart_ratio(values, 0.4)
    for name, score in values.items():
        assert score[kept[name]].min() > score[~kept[name]].max()


@draw(
    st.sampled_from([scope.smart_ratio, scope.smart_ratio_vgg]),
    st.lists(st.integers(1, 400), min_size=2, max_size=8),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_smart_ratio_is_exact_and_falls_with_depth(chosen, sizes, last, part):
    values = {f"layer{number}": torch.rand(size) for number, size in enumerate(sizes)}
    fixed, total = scope.count(last, sizes[-1]), sum(sizes)
    wanted = fixed + int(part * (total - sizes[-1]))
    *others, output = counts(chosen(values, wanted / total, last=last)).values()
    assert output == fixed
    assert sum(others) == wanted - fixed
    for (kept, size), (deeper, deeper_size) in itertools.pairwise(zip(others, sizes, strict=False)):
        assert (kept + 1) / size > (deeper - 1) / deeper_size  # but for rounding, a smaller part


@draw(st.integers(4, 9), st.floats(0.0, 0.03))
def test_smart_ratio_has_the_proportions_of_the_paper_where_nothing_is_full(layers, density):
    values = {f"layer{number}": torch.zeros(10_000) for number in range(layers)}
    *others, _ = counts(scope.smart_ratio(values, density, last=0.0)).values()
    depths = [layers - number for number in range(layers - 1)]
    for kept, depth in zip(others, depths, strict=True):
        assert abs(kept - sum(others) * (depth**2 + depth) / sum(k**2 + k for k in depths)) <= 1


@pytest.mark.parametrize(
    ("density", "last", "message"),
    [
        (0.001, 0.3, r"density 0\.001 cannot be met: with 0\.3 of the last tensor, it is from 0\.001127 to 0\.9974"),
        (0.999, 0.3, r"density 0\.999 cannot be met"),
        (0.5, 1.3, r"last tensor, 1\.3, is outside"),
    ],
)
def test_smart_ratio_refuses_what_cannot_be(density, last, message):
    with pytest.raises(PrunusError, match=message):
        scope.smart_ratio(scores(), density, last=last)


def test_given_densities_and_the_rest():
    kept = counts(scope.given({"fc3": 1.0, "fc1": 0.05})(scores(), 0.08))
    assert kept["fc3"] == 1_000
    assert kept["fc1"] == 11_760
    assert sum(kept.values()) == 21_296


def test_given_for_every_tensor_needs_the_density_that_follows():
    han = {"fc1": 0.08, "fc2": 0.09, "fc3": 0.26}
    follows = (0.08 * 235_200 + 0.09 * 30_000 + 0.26 * 1_000) / 266_200
    assert counts(scope.given(han)(scores(), follows)) == {"fc1": 18_816, "fc2": 2_700, "fc3": 260}
    with pytest.raises(PrunusError, match=r"do not fit \(try 0\.0818"):
        scope.given(han)(scores(), 0.5)


@pytest.mark.parametrize(
    ("densities", "density", "message"),
    [
        ({"fc9": 0.5}, 0.5, "no tensor named fc9; there are fc1, fc2, fc3"),
        ({"fc1": 1.5}, 0.5, "fc1: density 1.5 is outside"),
        ({"fc1": 0.9}, 0.1, "do not fit"),
    ],
)
def test_given_refuses_what_cannot_be(densities, density, message):
    with pytest.raises(PrunusError, match=message):
        scope.given(densities)(scores(), density)


def test_toward_goes_on_from_what_an_earlier_round_has_left():
    """Falling densities never ask for an entry more than the step before kept, whichever tensor lags behind."""
    begin, end = {"fc1": 0.32, "fc2": 0.36, "fc3": 1.0}, {"fc1": 0.08, "fc2": 0.09, "fc3": 0.26}
    values = scores()
    first, last = (scope.overall(densities, values) for densities in (begin, end))
    counts = [
        {name: int(kept.sum()) for name, kept in scope.toward(end, begin)(values, density).items()}
        for density in torch.linspace(first, last, 30).tolist()
    ]
    for before, after in itertools.pairwise(counts):
        assert all(after[name] <= before[name] for name in values)
    for found, wanted in ((counts[0], begin), (counts[-1], end)):
        assert all(abs(found[name] - wanted[name] * values[name].numel()) <= 1 for name in values)


@pytest.mark.parametrize(
    ("chosen", "density", "groups"),
    [
        (scope.network, 0.3, None),
        (scope.tensor, 0.3, 3),
        (scope.row, 0.25, 28),
        (scope.n_of_m(2, 4), 0.5, None),
        (scope.erk, 0.2, None),
        (scope.er, 0.2, None),
        (scope.smart_ratio, 0.4, None),
        (scope.smart_ratio_vgg, 0.3, None),
        (scope.given({"matrix": 0.5}), 0.3, None),
        (scope.floored(0.5), 0.3, None),
        (scope.network, 1.0, None),
    ],
    ids=["network", "tensor", "row", "2:4", "erk", "er", "smart ratio", "smart ratio vgg", "given", "floored", "all"],
)
def test_every_scope_keeps_the_contract(chosen, density, groups):
    check_scope(chosen, density, groups=groups)


def test_a_threshold_rule_breaks_the_contract():
    """The rule that several libraries use, keep what exceeds a percentile, loses all equal scores."""

    def threshold(scores, density):
        flat = torch.cat([score.float().reshape(-1) for score in scores.values()])
        limit = flat.quantile(1 - density)
        return {name: score > limit for name, score in scores.items()}

    with pytest.raises(AssertionError, match="equal scores: kept 0 of"):
        check_scope(threshold, 0.5)


@draw(st.integers(0, 999), st.integers(0, 8), st.sampled_from([torch.float32, torch.bfloat16, torch.float64]))
def test_groups_over_tensors_live_and_die_together(seed, kept, dtype):
    """Oracle: sums over members one by one, sorted; what has a negative number stays."""
    generator = torch.Generator().manual_seed(seed)
    values = {name: torch.randn(size, generator=generator).to(dtype) for name, size in (("a", 6), ("b", 9), ("c", 2))}
    groups = {"a": torch.randint(-1, 8, (6,), generator=generator), "b": torch.arange(8, -1, -1) - 1}
    members = {n: [(t, k) for t in groups for k, own in enumerate(groups[t].tolist()) if own == n] for n in range(8)}
    worth = {number: sum(float(values[t][k]) for t, k in found) for number, found in members.items()}
    alive = sorted(worth, key=lambda number: -worth[number])[:kept]
    found = scope.together(groups)(values, kept / 8)
    for tensor, numbers in groups.items():
        assert found[tensor].tolist() == [number in alive or number < 0 for number in numbers.tolist()]
    assert found["c"].all()


def test_groups_compete_where_they_first_appear():
    """At half of each tensor: three of the first have the numbers 0, 1, 2, the second has 3 of its own."""
    values = {"a": torch.tensor([1.0, 2.0, 3.0, 9.0]), "b": torch.tensor([0.0, 5.0, 0.0, 0.0])}
    groups = {"a": torch.tensor([0, 1, 2, 4]), "b": torch.tensor([3, 0, 1, -1])}
    found = scope.together(groups, scope.tensor)(values, 0.5)
    assert {name: kept.tolist() for name, kept in found.items()} == {
        "a": [True, False, False, True],
        "b": [True, True, False, True],
    }


def test_groups_of_another_shape_are_refused():
    with pytest.raises(PrunusError, match=r"a: groups have shape \(3,\), the atoms \(4,\)"):
        scope.together({"a": torch.arange(3)})({"a": torch.zeros(4)}, 0.5)


def test_what_a_mask_has_pruned_does_not_come_back_in_a_group():
    values = {"a": torch.tensor([torch.inf, 1.0]), "b": torch.tensor([-torch.inf, 0.0])}
    pairs = {"a": torch.tensor([0, 1]), "b": torch.tensor([0, 1])}
    assert scope.together(pairs)(values, 0.5)["b"].tolist() == [False, True]
