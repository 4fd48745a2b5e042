"""What cannot be approximated is refused by name."""

import math

import pytest
import torch
from torch import nn

from prunus import models
from prunus.construction import Hyperbolic, Uniform, approximate, fully_connected
from prunus.errors import PrunusError

from .oracle import perceptron


class Branched(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.second(self.first(x).relu()) + x


class Decides(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (nn.Sequential(nn.Linear(3, 3), nn.Tanh()), "Sequential cannot be approximated: Tanh at '1' is not among"),
        (nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)), "BatchNorm2d at '1' is not among Linear, Conv2d"),
        (nn.Sequential(nn.Conv2d(2, 2, 1, groups=2)), "Conv2d at '0' .*groups=2.* expected one group"),
        (nn.Sequential(nn.Conv2d(2, 2, 3, padding="same")), "padding=same"),
        (nn.Sequential(nn.Linear(3, 3), nn.Flatten(0)), "Flatten at '1' flattens dimensions 0 to -1"),
        (nn.Sequential(nn.Conv2d(2, 2, 1), nn.MaxPool2d(3, 2)), "MaxPool2d at '1' has windows that overlap"),
        (nn.Sequential(nn.ReLU()), "has no layer with weights"),
        (Branched(), "Branched cannot be approximated: .*no chain has branches"),
        (Decides(), "Decides is no chain of layers"),
        (models.build("resnet-20"), "ResNet cannot be approximated"),
    ],
)
def test_targets(target, words):
    with pytest.raises(PrunusError, match=words):
        approximate(target, 4, 0.1)


@pytest.mark.parametrize(
    ("items", "epsilon", "words"),
    [
        (0, 0.1, "items: found 0"),
        (4, 0.0, "epsilon: found 0"),
        (4, math.nan, "epsilon: found nan"),
        (70, 0.1, "found 70"),
    ],
)
def test_numbers(items, epsilon, words):
    with pytest.raises(PrunusError, match=words):
        approximate(perceptron(3, 2), items, epsilon)


def test_weights():
    broken = perceptron(3, 2)
    broken[0].weight.data[0, 0] = math.nan
    with pytest.raises(PrunusError, match="NaN"):
        approximate(broken, 4, 0.1)
    with pytest.raises(PrunusError, match=r"no weights can be drawn from \[1, 1\]"):
        Uniform(1, 1)
    with pytest.raises(PrunusError, match="hyperbolic weights need"):
        Hyperbolic(1, 0)
    with pytest.raises(PrunusError, match="more than 268,435,456 weights"):
        approximate(perceptron(2000, 2000), 70, 0.1)


def test_tensors_that_are_no_fully_connected_network():
    def ones(**shapes):
        return {name.replace("_", "."): torch.ones(shape) for name, shape in shapes.items()}

    with pytest.raises(PrunusError, match=r"b.weight reads 5 units, the layer before it has 3"):
        fully_connected(ones(a_weight=(3, 4), b_weight=(2, 5)))
    with pytest.raises(PrunusError, match=r"seen in c.weight"):
        fully_connected(ones(a_weight=(3, 4), c_weight=(2, 5, 1, 1)))
    with pytest.raises(PrunusError, match=r"seen in b.bias"):
        fully_connected(ones(a_weight=(3, 4), b_bias=(3,)))
    with pytest.raises(PrunusError, match=r"the biases of a.weight are \(2,\)"):
        fully_connected(ones(a_weight=(3, 4), a_bias=(2,)))
    found = fully_connected(ones(l10_weight=(1, 2), l9_weight=(2, 7), l9_bias=(2,)))
    assert [type(part).__name__ for part in found] == ["Flatten", "Linear", "ReLU", "Linear"]
    assert found[1].in_features == 7
