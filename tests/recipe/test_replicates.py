"""Means, spreads and errors against figures worked out by hand."""

from math import sqrt

import pytest

from prunus.errors import PrunusError
from prunus.recipe.replicates import Difference, Measured, check_replicates, difference


def of(*accuracy: float) -> Measured:
    return Measured(accuracy, tuple("run" for _ in accuracy))


def test_mean_and_deviation():
    """Of 90, 92, 97: mean 93, squares 9 + 1 + 16 over 2."""
    assert of(90, 92, 97).mean == 93
    assert of(90, 92, 97).deviation == pytest.approx(sqrt(13))


def test_a_difference_is_taken_within_each_replicate():
    """Differences 1, 2, 6: mean 3, squares 4 + 1 + 9 over 2, over 3; what replicates share does not count."""
    found = difference([of(11, 52, 96)], [of(10, 50, 90)])
    assert found.mean == 3
    assert found.error == pytest.approx(sqrt(7 / 3))
    assert difference([of(10, 50, 90)], [of(10, 50, 90)]) == Difference(0, 0)


def test_a_group_is_the_mean_of_its_members():
    """Means 2, 5 and 1, 2: differences 1, 3."""
    assert difference([of(1, 4), of(3, 6)], [of(1, 1), of(0, 3), of(2, 2)]) == Difference(2, 1)


@pytest.mark.parametrize("seeds", [(), (4,)])
def test_one_replicate_has_no_spread(seeds):
    with pytest.raises(PrunusError, match="a spread takes two seeds at least, found"):
        check_replicates(seeds)
    check_replicates((4, 5))
