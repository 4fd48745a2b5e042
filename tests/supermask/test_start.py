"""Frozen starts: constants and ranges by closed form, the same signs, the same bits in any process."""

import hashlib
import subprocess
import sys
from math import sqrt

import pytest
import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.supermask import Start, Supermask

from .networks import Normed

SHAPES = {"conv": (16, 3, 3, 3), "fc": (10, 784)}


@pytest.mark.parametrize(("name", "fan_in"), [("conv", 27), ("fc", 784)])
@pytest.mark.parametrize("density", [1.0, 0.25])
def test_kaiming(name: str, fan_in: int, density: float) -> None:
    deviation = sqrt(2 / (density * fan_in))
    constant = Start("signed-constant", 3, density).drawn(SHAPES)[name].values(SHAPES[name])
    uniform = Start("uniform", 3, density).drawn(SHAPES)[name].values(SHAPES[name])
    assert constant.unique().tolist() == pytest.approx([-deviation, deviation])
    assert 0.99 < uniform.abs().max() / (sqrt(3) * deviation) <= 1
    assert uniform.std() == pytest.approx(deviation, rel=0.06)
    assert torch.equal(uniform.sign(), constant.sign())


def test_a_smaller_density_makes_weights_larger() -> None:
    """The authors' own code divides by what is removed: 4 / 3 here, instead of 4."""
    full, quarter = (Start(density=density).drawn(SHAPES)["fc"].distribution.scale for density in (1.0, 0.25))
    assert (quarter / full) ** 2 == pytest.approx(4)


def test_each_tensor_has_a_stream_and_each_seed_its_own() -> None:
    same = {"a": (30, 30), "b": (30, 30)}
    drawn = [Start(seed=seed).drawn(same)[name].values((30, 30)) for seed in (0, 1) for name in same]
    assert [(one.stream, one.seed) for one in Start(seed=4).drawn(same).values()] == [(0, 4), (1, 4)]
    for first in range(4):
        for second in range(first):
            assert 0.35 < (drawn[first] == drawn[second]).float().mean() < 0.65


def test_biases_are_zero_and_batchnorm_is_none() -> None:
    model = Normed()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 7.0)
    Start().apply_to(model)
    assert model.fc.bias.eq(0).all()
    assert model.norm.bias.eq(0).all()
    assert model.norm.weight.eq(1).all()
    assert model.conv.weight.abs().unique().tolist() == pytest.approx([sqrt(2 / 9)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("kaiming",), "unknown kind of draws 'kaiming'"),
        (("uniform", -3), "a seed must be at least 0 and below 2\\*\\*63, found -3"),
        (("uniform", 0, 0.0), r"density 0\.0 is outside \(0, 1\]"),
        (("uniform", 0, float("nan")), "density nan is outside"),
    ],
)
def test_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(PrunusError, match=message):
        Start(*arguments)


REBUILD = """
import hashlib, sys, torch
from prunus.mask import Mask
from prunus.supermask import Start, Supermask
torch.manual_seed(int(sys.argv[1]))
mask = Mask({"a": torch.arange(3000).reshape(30, 100) % 3 == 0})
for kind in ("signed-constant", "uniform"):
    weights = Supermask(Start(kind, 12, 0.5), mask, rescale=1).weights()
    print(hashlib.sha256(weights["a"].numpy().tobytes()).hexdigest())
"""


def test_another_process_rebuilds_the_same_bits() -> None:
    runs = [subprocess.run([sys.executable, "-c", REBUILD, n], capture_output=True, text=True) for n in ("1", "2")]
    assert runs[0].returncode == 0, runs[0].stderr
    assert runs[0].stdout == runs[1].stdout
    mask = Mask({"a": torch.arange(3000).reshape(30, 100) % 3 == 0})
    for line, kind in zip(runs[0].stdout.split(), ("signed-constant", "uniform"), strict=True):
        weights = Supermask(Start(kind, 12, 0.5), mask, rescale=1).weights()["a"]
        assert hashlib.sha256(weights.numpy().tobytes()).hexdigest() == line
        assert torch.equal(weights != 0, mask["a"])
    assert weights.abs().max() == pytest.approx(3 * sqrt(6 / (0.5 * 100)), rel=0.01)  # 3: a third of it is kept
