import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from prunus.data.augment import Affine, Shift

AUGMENTS = [Affine(), Shift(2), Shift(4, mirror=True)]


def images(count: int = 6, channels: int = 3, height: int = 9, width: int = 7) -> Tensor:
    generator = Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("augment", AUGMENTS, ids=repr)
def test_generator_decides_everything(augment: Affine | Shift) -> None:
    batch = images()
    first = augment(batch, Generator().manual_seed(3))
    torch.manual_seed(0)
    again = augment(batch, Generator().manual_seed(3))
    other = augment(batch, Generator().manual_seed(4))
    assert first.shape == batch.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(batch, images())


def test_affine_of_nothing_changes_nothing() -> None:
    batch = images()
    still = Affine(rotation=0, scale=0, shear=0, shift=0)
    torch.testing.assert_close(still(batch, Generator().manual_seed(0)), batch.float(), rtol=0, atol=1e-2)


def _one_draw(monkeypatch: pytest.MonkeyPatch, row: int) -> None:
    """Every draw is 0 (nothing) but that of `row`, which is 1 (the most)."""

    def rand(rows: int, count: int, **_: object) -> Tensor:
        draws = torch.full((rows, count), 0.5)
        draws[row] = 1.0
        return draws

    monkeypatch.setattr(torch, "rand", rand)


def test_affine_turns_by_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    _one_draw(monkeypatch, 0)
    batch = images(height=8, width=8)
    turned = Affine(rotation=math.pi / 2, scale=0, shear=0, shift=0)(batch, Generator())
    torch.testing.assert_close(turned, batch.rot90(1, (2, 3)).float(), rtol=0, atol=0.05)


@pytest.mark.parametrize(("row", "dimension"), [(4, 3), (5, 2)])
def test_affine_shifts_by_pixels(monkeypatch: pytest.MonkeyPatch, row: int, dimension: int) -> None:
    _one_draw(monkeypatch, row)
    batch = images()
    moved = Affine(rotation=0, scale=0, shear=0, shift=2)(batch, Generator())
    expected = torch.zeros_like(batch)
    size = batch.shape[dimension]
    expected.narrow(dimension, 0, size - 2).copy_(batch.narrow(dimension, 2, size - 2))
    torch.testing.assert_close(moved, expected.float(), rtol=0, atol=0.05)


def test_affine_stays_near_the_middle_of_mass() -> None:
    dot = torch.zeros(500, 1, 21, 21)
    dot[:, :, 10, 10] = 1.0
    moved = Affine(rotation=0.3, scale=0.1, shear=0.2, shift=3)(dot, Generator().manual_seed(0))
    axis = torch.arange(21.0) - 10
    mass = moved.sum((1, 2, 3))
    x, y = (moved.sum((1, 2)) @ axis) / mass, (moved.sum((1, 3)) @ axis) / mass
    assert x.abs().max() < 3 * 1.5
    assert abs(x.mean().item()) < 0.25  # even: the deviation of the mean is 3 / sqrt(3 * 500) = 0.08
    assert abs(y.mean().item()) < 0.25
    assert x.std().item() == pytest.approx(3 / math.sqrt(3), rel=0.15)


@given(pixels=st.integers(0, 4), mirror=st.booleans(), seed=st.integers(0, 1000))
def test_shift_gives_a_window_of_the_padded_image_or_its_mirror(pixels: int, mirror: bool, seed: int) -> None:
    batch = images(count=3, height=5, width=6)
    shifted = Shift(pixels, mirror)(batch, Generator().manual_seed(seed))
    assert shifted.dtype == torch.uint8
    for before, after in zip(batch, shifted, strict=True):
        padded = torch.zeros(3, 5 + 2 * pixels, 6 + 2 * pixels, dtype=torch.uint8)
        padded[:, pixels : pixels + 5, pixels : pixels + 6] = before
        windows = [
            padded[:, row : row + 5, column : column + 6]
            for row in range(2 * pixels + 1)
            for column in range(2 * pixels + 1)
        ]
        views = windows + ([window.flip(2) for window in windows] if mirror else [])
        assert any(torch.equal(after, view) for view in views)


def test_shift_reaches_every_place_and_both_mirrors() -> None:
    dot = torch.zeros(2000, 1, 5, 5, dtype=torch.uint8)
    dot[:, 0, 2, 3] = 1
    places = Shift(1, mirror=True)(dot, Generator().manual_seed(0)).flatten(1).argmax(1)
    columns = {2, 3, 4} | {2, 1, 0}
    assert set(places.tolist()) == {row * 5 + column for row in (1, 2, 3) for column in columns}
