import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunus.code import arithmetic, mixing
from prunus.code.histogram import entropy
from prunus.code.levels import code_levels
from prunus.code.neighbours import Geometry
from prunus.code.places import code_places
from prunus.code.planes import code_planes
from prunus.code.steps import read_steps, write_steps


def test_squash_is_the_logistic_function() -> None:
    for x in range(-mixing.END, mixing.END + 1):
        assert abs(mixing.squash(x) - 65536 / (1 + math.exp(-x / 256))) <= 1
    assert mixing.squash(10**9) == mixing.squash(mixing.END)


def test_stretch_inverts_squash() -> None:
    for p in range(1, 65536):
        x = mixing.stretch(p)
        coarse = 4096 <= p <= 61440  # there p is rounded down to a multiple of 16
        assert abs(x - 256 * math.log(p / (65536 - p))) <= (3 if coarse else 1) or p in (1, 65535)
        assert mixing.stretch(65536 - p) == -x or coarse


def test_the_tables_are_part_of_the_format() -> None:
    tables = np.concatenate([mixing.SQUASH, mixing.FINE, mixing.COARSE, mixing.RATES]).astype("<i4")
    digest = hashlib.sha256(tables.tobytes()).hexdigest()
    assert digest == "452255e729457bd244def773bc2f611c32338b1b9c410d20dea574c020b4e25c"


def test_a_slot_learns_the_share_of_ones() -> None:
    slot = mixing.HALF
    for i in range(3000):
        slot = mixing.learnt(slot, int(i % 4 == 0), 255)
    assert mixing.chance(slot) / 65536 == pytest.approx(0.25, abs=0.02)
    assert slot & 255 == 255


def test_training_favours_the_input_that_knows() -> None:
    weights, inputs = np.zeros(2, np.int64), np.zeros(2, np.int64)
    rng = np.random.default_rng(0)
    for _ in range(500):
        bit, noise = rng.integers(0, 2, 2).tolist()
        inputs[:] = (500 if bit else -500, 500 if noise else -500)
        mixing.train(weights, inputs, mixing.mix(weights, inputs), bit, 10)
    assert weights[0] > 10 * abs(weights[1])


geometries = st.builds(
    Geometry,
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    transposed=st.booleans(),
    width=st.integers(0, 5),
    plane=st.integers(0, 9),
)


@given(geometries, st.integers(1, 300), st.integers(0, 1), st.integers(0, 2**32 - 1))
def test_places_and_levels_come_back(geometry: Geometry, levels: int, sparse: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = geometry.rows * geometry.columns
    symbols = rng.integers(0, levels, count).astype(np.uint16) + np.uint16(sparse)
    symbols *= rng.random(count) < 0.5 if sparse else np.True_
    coder = arithmetic.writer(100 + 8 * count)
    if sparse:
        code_places(coder, symbols, geometry)
    code_levels(coder, symbols, levels, sparse, geometry)
    data = arithmetic.finish(coder)
    assert data is not None
    decoded, coder = np.zeros(count, np.uint16), arithmetic.reader(data)
    if sparse:
        code_places(coder, decoded, geometry)
    code_levels(coder, decoded, levels, sparse, geometry)
    arithmetic.check_end(coder)
    assert (decoded == symbols).all()


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, unique=True))
def test_steps_come_back(numbers: list[int]) -> None:
    ascending = np.array(sorted(numbers), np.uint64)
    coder = arithmetic.writer(16 * len(numbers) + 16)
    write_steps(coder, ascending)
    data = arithmetic.finish(coder)
    assert data is not None
    assert (read_steps(arithmetic.reader(data), len(numbers)) == ascending).all()


@pytest.mark.parametrize("modelled", [0, 2, 6])
def test_planes_come_back(modelled: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (200, 3)).astype(np.uint8)
    coder = arithmetic.writer(2000)
    code_planes(coder, values, modelled)
    data = arithmetic.finish(coder)
    assert data is not None
    decoded = values.copy()
    decoded[:, 1:] = 0
    code_planes(arithmetic.reader(data), decoded, modelled)
    assert (decoded == values).all()


def image_like(transposed: bool) -> tuple[np.ndarray, Geometry]:
    """Kept entries in blobs of 28 x 28 images, a row each, as in the first layer of a pruned MNIST network."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28]
    centres = rng.uniform(8, 20, (100, 2))
    squared = (y[None] - centres[:, :1, None]) ** 2 + (x[None] - centres[:, 1:, None]) ** 2
    kept = rng.random((100, 28, 28)) < 0.6 * np.exp(-squared / 12)
    return kept.reshape(-1).astype(np.uint16), Geometry(100, 784, transposed, width=28)


@pytest.mark.parametrize("transposed", [False, True])
def test_places_with_structure_take_much_less_than_their_entropy(transposed: bool) -> None:
    symbols, geometry = image_like(transposed)
    coder = arithmetic.writer(symbols.size)
    code_places(coder, symbols, geometry)
    data = arithmetic.finish(coder)
    assert data is not None
    assert len(data) < 0.75 * entropy(np.bincount(symbols)) / 8


def test_places_without_structure_take_little_more_than_their_entropy() -> None:
    symbols = (np.random.default_rng(0).random(200_000) < 0.02).astype(np.uint16)
    coder = arithmetic.writer(symbols.size)
    code_places(coder, symbols, Geometry(400, 500))
    data = arithmetic.finish(coder)
    assert data is not None
    assert len(data) < 1.02 * entropy(np.bincount(symbols)) / 8


def test_levels_like_their_neighbours_take_less_than_their_entropy() -> None:
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(100, 100)).cumsum(1).cumsum(0)
    symbols = np.digitize(smooth, np.quantile(smooth, np.linspace(0, 1, 17)[1:-1])).astype(np.uint16).reshape(-1)
    coder = arithmetic.writer(symbols.size)
    code_levels(coder, symbols, 16, 0, Geometry(100, 100))
    data = arithmetic.finish(coder)
    assert data is not None
    assert len(data) < 0.5 * entropy(np.bincount(symbols)) / 8
