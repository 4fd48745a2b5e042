import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunus.code.histogram import TOTAL, Histogram, entropy
from prunus.errors import FormatError

weights = st.lists(st.integers(0, 2**30), min_size=1, max_size=300).filter(any)


@given(weights, st.integers(0, 12))
def test_frequencies_sum_to_the_total_and_survive_storage(weights: list[int], detail: int) -> None:
    model = Histogram.of(np.array(weights), detail)
    assert model.frequencies.sum() == TOTAL
    assert ((model.frequencies > 0) == (np.array(weights) > 0)).all()
    data = model.to_bytes()
    again, used = Histogram.from_bytes(data + b"more", len(weights))
    assert used == len(data)
    assert (again.frequencies == model.frequencies).all()


@pytest.mark.parametrize(("count", "alphabet"), [(1_000, 16), (100_000, 256), (1_000_000, 64)])
def test_model_and_its_cost_are_near_the_entropy(count: int, alphabet: int) -> None:
    rng = np.random.default_rng(0)
    symbols = np.minimum(rng.geometric(0.1, count) - 1, alphabet - 1).astype(np.uint8)
    model = Histogram.fit(symbols, alphabet)
    bound = entropy(np.bincount(symbols))
    assert bound <= model.cost(symbols) < 1.01 * bound
    assert len(model.to_bytes()) < alphabet + 8


def test_entropy_of_known_cases() -> None:
    assert entropy(np.array([5, 0])) == 0
    assert entropy(np.array([1, 1, 1, 1])) == 8
    assert entropy(np.array([3, 1])) == pytest.approx(4 * (2 - 0.75 * np.log2(3)))


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"\xff", b"\x01\xff\xff"])
def test_bytes_that_are_no_histogram_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        Histogram.from_bytes(data, 8)
