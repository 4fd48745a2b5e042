"""Numbers drawn are those of the paper's generator, and any stretch of them is a part of the whole."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunus import draws
from prunus.errors import PrunusError

LOW = 2**64 - 1


def philox(counter: int, key: tuple[int, int]) -> list[int]:
    """Philox4x64-10 as the paper writes it, one step a line."""
    c, (left, right) = [counter, 0, 0, 0], key
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [second >> 64 ^ c[1] ^ left, second & LOW, first >> 64 ^ c[3] ^ right, first & LOW]
        left, right = left + 0x9E3779B97F4A7C15 & LOW, right + 0xBB67AE8584CAA73B & LOW
    return c


def test_the_oracle_gives_the_known_answer_of_its_authors() -> None:
    assert philox(0, (0, 0)) == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]


@given(st.integers(0, LOW), st.integers(0, LOW), st.integers(0, 40), st.integers(0, 40))
def test_words_are_those_of_the_paper(seed: int, stream: int, first: int, count: int) -> None:
    blocks = (philox(counter, (seed, stream)) for counter in range(1, 12))
    whole = [half for block in blocks for word in block for half in (word & 0xFFFFFFFF, word >> 32)]
    assert draws.words(seed, stream, count, first=first).tolist() == whole[first : first + count]


def test_a_stretch_far_away() -> None:
    first = 8 * 10**15
    assert draws.words(5, 1, 2, first=first).tolist() == [
        half for word in philox(10**15 + 1, (5, 1))[:1] for half in (word & 0xFFFFFFFF, word >> 32)
    ]


def test_uniform_values_are_steps_of_the_range() -> None:
    found = draws.uniform(3, 2, (40, 5), -0.25, 0.5, first=7)
    steps = draws.words(3, 2, 200, first=7).astype(np.float64) // 256
    assert found.dtype == torch.float32
    assert found.flatten().tolist() == [float(np.float32(-0.25 + 0.75 * step / 2**24)) for step in steps]


def test_uniform_values_fill_the_range_evenly() -> None:
    found = draws.uniform(0, 0, (100_000,), -1.0, 3.0)
    counts = torch.histc(found, 10, -1.0, 3.0)
    assert ((counts - 10_000).abs() < 400).all()  # four deviations of 95


def test_signs_are_the_highest_bits() -> None:
    found = draws.signs(4, 9, (25, 40), first=3)
    assert found.flatten().tolist() == [-1.0 if word >= 2**31 else 1.0 for word in draws.words(4, 9, 1000, first=3)]
    assert abs(found.mean()) < 0.13  # four deviations of 0.032


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_that_are_none(seed: int) -> None:
    with pytest.raises(PrunusError, match=f"a seed must be at least 0 and below 2\\*\\*64, found {seed}"):
        draws.words(seed, 0, 1)


def test_hyperbolic_values_are_powers_of_two_of_the_words() -> None:
    found = draws.hyperbolic(3, 2, (40, 50), 0.75, 9, first=7).double().numpy().ravel()
    words = draws.words(3, 2, 2000, first=7)
    sizes = 0.75 * np.exp2(-9 * (words // 256).astype(np.float64) / 2**24)
    np.testing.assert_allclose(np.abs(found), sizes, rtol=6e-8)  # half a step of single precision
    assert (np.signbit(found) == (words % 2 == 1)).all()


def test_every_octave_has_as_many_hyperbolic_values() -> None:
    found = draws.hyperbolic(0, 0, (80_000,), 1.0, 8)
    counts = torch.histc(found.abs().log2(), 8, -8.0, 0.0)
    assert ((counts - 10_000).abs() < 400).all()  # four deviations of 94
    assert abs(float(found.sign().mean())) < 0.015
