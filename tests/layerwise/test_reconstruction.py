"""Reconstruction against torch.linalg.lstsq, and layer errors against outputs."""

import pytest
import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.inputs import input_grams
from prunus.layerwise import layer_errors, reconstruct
from prunus.mask import Mask

from .problems import correlated, solved


@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_is_least_squares_for_any_mask(density):
    weights, inputs = correlated()
    mask = Mask({"w": torch.rand(weights.shape, generator=torch.Generator().manual_seed(3)) < density})
    moved = reconstruct({"w": weights}, mask, {"w": inputs.T @ inputs}, damping=0)["w"]
    expected = torch.stack([solved(row, inputs, kept)[0] for row, kept in zip(weights, mask["w"], strict=True)])
    torch.testing.assert_close(moved, expected, rtol=1e-8, atol=1e-8)


def test_damping_pulls_towards_the_weights_given():
    """As rows of inputs sqrt(lambda) I would, of which lstsq is told."""
    weights, inputs = correlated()
    gram = inputs.T @ inputs
    more = torch.cat([inputs, (0.5 * gram.diagonal().mean()).sqrt() * torch.eye(12, dtype=torch.float64)])
    mask = Mask({"w": torch.arange(72).reshape(6, 12) % 3 > 0})
    moved = reconstruct({"w": weights}, mask, {"w": gram}, damping=0.5)["w"]
    expected = torch.stack([solved(row, more, kept)[0] for row, kept in zip(weights, mask["w"], strict=True)])
    torch.testing.assert_close(moved, expected)


def test_a_convolution_with_groups_changes_its_outputs_by_the_error_told():
    torch.manual_seed(0)
    layer, images = nn.Conv2d(4, 6, 3, groups=2, bias=False).double(), torch.randn(9, 4, 6, 6, dtype=torch.float64)
    images = nn.functional.avg_pool2d(images, 3, 1, 1)  # neighbours are alike
    grams = input_grams(layer, [(images, None)])
    mask = Mask({"weight": torch.rand(layer.weight.shape) < 0.5})
    outputs = layer(images).detach()
    errors = []
    for moved in (mask.apply({"weight": layer.weight.detach()}), reconstruct(layer, mask, grams)):
        found = torch.func.functional_call(layer, moved, (images,))
        lost = float((found - outputs).square().sum() / outputs.square().sum())
        assert layer_errors(layer, moved, grams)["weight"] == pytest.approx(lost)
        errors.append(lost)
    assert errors[1] < 0.9 * errors[0]


def test_weights_without_a_gram_are_only_masked():
    weights = {"a": torch.ones(2, 2), "b": torch.ones(2, 2)}
    mask = Mask({name: torch.eye(2, dtype=torch.bool) for name in weights})
    grams = {"b": torch.tensor([[1.0, 0.5], [0.5, 1.0]])}
    moved = reconstruct(weights, mask, grams, damping=0)
    assert moved["a"].tolist() == [[1, 0], [0, 1]]
    assert moved["b"].tolist() == [[1.5, 0], [0, 1.5]]


def test_refusals():
    weights = {"w": torch.ones(2, 3)}
    with pytest.raises(PrunusError, match=r"mask \(3, 3\) != tensor \(2, 3\)"):
        reconstruct(weights, Mask({"w": torch.eye(3) > 0}), {"w": torch.eye(3)})
    with pytest.raises(PrunusError, match=r"shape \(3, 3\) != \(2, 3\)"):
        layer_errors(weights, {"w": torch.eye(3)}, {"w": torch.eye(3)})
