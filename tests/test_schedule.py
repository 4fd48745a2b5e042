"""Densities over training, against closed forms."""

from itertools import pairwise

import pytest

from prunus.errors import PrunusError
from prunus.schedule import constant, cosine, cubic, geometric

FALLING = [cubic, geometric, cosine]


@pytest.mark.parametrize("schedule", FALLING)
def test_holds_before_and_after_and_never_rises(schedule):
    density = schedule(0.05, begin=10, end=110, initial=0.8)
    values = [density(step) for step in range(200)]
    assert values[:11] == [0.8] * 11
    assert values[110:] == [0.05] * 90
    assert all(later < earlier for earlier, later in pairwise(values[10:111]))


def test_cubic_is_zhu_and_gupta_in_sparsity():
    """s_t = s_f + (s_i - s_f)(1 - (t - t_0) / (n dt))^3 with s_i = 0, s_f = 0.9, t_0 = 0, n dt = 100."""
    for step in range(101):
        sparsity = 0.9 + (0 - 0.9) * (1 - step / 100) ** 3
        assert cubic(0.1, begin=0, end=100)(step) == pytest.approx(1 - sparsity)


def test_geometric_falls_by_a_constant_factor():
    density = geometric(0.8**5, begin=0, end=5)
    assert [density(step) for step in range(6)] == pytest.approx([0.8**k for k in range(6)])


def test_cosine_is_halfway_in_the_middle():
    assert cosine(0.2, begin=0, end=10)(5) == pytest.approx(0.6)


def test_constant_is_constant():
    assert {constant(0.3)(step) for step in (0, 1, 10**9)} == {0.3}


@pytest.mark.parametrize("density", [0, -0.1, 1.1])
@pytest.mark.parametrize("schedule", FALLING)
def test_densities_outside_are_refused(schedule, density):
    with pytest.raises(PrunusError, match="outside"):
        schedule(density, begin=0, end=1)


def test_an_empty_span_is_refused():
    with pytest.raises(PrunusError, match="begin < end"):
        cubic(0.1, begin=5, end=5)
