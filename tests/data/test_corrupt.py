"""Corrupted training data: everything is still there, and nothing in its place."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prunus.data import Data, Split, load
from prunus.data.corrupt import CORRUPTIONS, corrupted
from prunus.errors import PrunusError

DIGITS = load("digits")


def colourful(rows: int, channels: int = 3, height: int = 4, width: int = 5, seed: int = 0) -> Data:
    """Images in which no two pixels are alike: pixel p of channel c has the value of p plus 60 c."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.arange(height * width) + 60 * torch.arange(channels)[:, None]
    inputs = pixels.reshape(channels, height, width).expand(rows, -1, -1, -1).to(torch.uint8)
    labels = torch.randint(0, 4, (rows,), generator=generator)
    split = Split(inputs.contiguous(), labels, torch.zeros(channels), torch.ones(channels))
    part = Split(inputs[:2], labels[:2], split.offset, split.scale)
    return Data("colourful", split, part, tuple("abcd"), None, "made up", lambda: (inputs[:3], labels[:3]))


def pixels(inputs: Tensor) -> list[list[int]]:
    """The sorted values of each image."""
    return inputs.flatten(1).sort(1).values.tolist()


def test_labels_are_dealt_out_anew():
    changed = corrupted(DIGITS, "labels")
    before, after = DIGITS.train.labels, changed.train.labels
    assert Counter(after.tolist()) == Counter(before.tolist())
    assert (after.dtype, after.shape) == (before.dtype, before.shape)
    # of ten classes of like size a tenth stays right by chance: 135 of 1350, with a deviation of 11
    assert 80 < int((after == before).sum()) < 190
    for digit in range(10):
        of_this = after[before == digit]
        assert len(of_this.unique()) == 10, "some images of a class get every label"
        assert int((of_this == digit).sum()) < len(of_this) / 4


def test_images_stay_when_labels_change_and_labels_when_images_do():
    assert torch.equal(corrupted(DIGITS, "labels").train.inputs, DIGITS.train.inputs)
    assert torch.equal(corrupted(DIGITS, "pixels").train.labels, DIGITS.train.labels)


def test_each_image_keeps_its_pixels():
    changed = corrupted(DIGITS, "pixels").train.inputs
    assert (changed.dtype, changed.shape) == (torch.uint8, DIGITS.train.inputs.shape)
    assert pixels(changed) == pixels(DIGITS.train.inputs)
    assert all(not torch.equal(a, b) for a, b in zip(changed, DIGITS.train.inputs, strict=True))


def test_each_image_has_an_order_of_its_own():
    images = corrupted(colourful(200), "pixels").train.inputs[:, 0].flatten(1)
    assert len({tuple(image) for image in images.tolist()}) == 200
    assert torch.equal(images.sort(1).values, torch.arange(20, dtype=torch.uint8).expand(200, 20))
    # every pixel comes everywhere: 200 times among 20 places, 10 on average
    seen = torch.stack([(images == pixel).sum(0) for pixel in range(20)])
    assert seen.min() >= 1
    assert seen.max() <= 25


@settings(max_examples=20)
@given(rows=st.integers(1, 12), channels=st.integers(1, 4), height=st.integers(1, 5), width=st.integers(1, 5))
def test_the_channels_of_a_pixel_go_together(rows, channels, height, width):
    changed = corrupted(colourful(rows, channels, height, width), "pixels").train.inputs.long()
    assert changed.shape == (rows, channels, height, width)
    for channel in range(channels):
        assert torch.equal(changed[:, channel] - 60 * channel, changed[:, 0])


def test_more_images_than_are_scrambled_at_a_time():
    data = colourful(5003, 2, 2, 2)
    changed = corrupted(data, "pixels").train.inputs
    assert pixels(changed) == pixels(data.train.inputs)
    orders = [tuple(image) for image in changed[:, 0].flatten(1).tolist()]
    assert len(set(orders)) == 24
    assert len(set(orders[-3:] + orders[:3])) > 1


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_validation_and_test_are_as_before(what):
    changed = corrupted(DIGITS, what)
    for before, after in ((DIGITS.validation, changed.validation), (DIGITS.test(), changed.test())):
        for part in ("inputs", "labels", "offset", "scale"):
            assert torch.equal(getattr(before, part), getattr(after, part))
    assert torch.equal(changed.train.scale, DIGITS.train.scale)
    assert (changed.name, changed.classes, changed.input_shape) == (DIGITS.name, DIGITS.classes, DIGITS.input_shape)


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_the_data_itself_is_left_alone(what):
    inputs, labels = DIGITS.train.inputs.clone(), DIGITS.train.labels.clone()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    corrupted(DIGITS, what)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(DIGITS.train.inputs, inputs)
    assert torch.equal(DIGITS.train.labels, labels)


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_the_seed_decides(what):
    first, again, other = corrupted(DIGITS, what), corrupted(DIGITS, what, seed=0), corrupted(DIGITS, what, seed=1)

    def parts(data: Data) -> tuple[bytes, bytes]:
        return data.train.inputs.numpy().tobytes(), data.train.labels.numpy().tobytes()

    assert parts(first) == parts(again)
    assert parts(first) != parts(other)
    assert first.fingerprint == again.fingerprint


def test_no_two_have_the_same_fingerprint():
    changed = [corrupted(DIGITS, what, seed=seed) for what in CORRUPTIONS for seed in range(3)]
    assert len({data.fingerprint for data in (DIGITS, *changed)}) == 7


def test_an_unknown_corruption_is_refused():
    with pytest.raises(PrunusError, match="unknown corruption 'label', did you mean 'labels'\\? Valid: labels, pixels"):
        corrupted(DIGITS, "label")
