"""The backward sweep against the whole Hessian where it is exact, and against the paper's sums elsewhere."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from prunus import models
from prunus.curvature import hessian_diagonals
from prunus.errors import PrunusError

from . import networks as of


class Residual(nn.Module):
    """One value wide wherever paths meet, so that nothing is left out; every operator writes in place if it can."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 1), nn.Linear(1, 1), nn.Linear(1, 1)

    def forward(self, x):
        x = nn.functional.softplus(self.first(x.view(x.size(0), -1)))
        x = x.mul_(2).neg()
        return self.last(nn.functional.elu(self.second(x), inplace=True))


def convolution():
    """Each convolution has one place, or one weight that reads it: no place is bent with another."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 4),
        nn.BatchNorm2d(3),
        nn.Softplus(),
        nn.AvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 2),
    ).double()


EXACT = {
    "tanh, squared error": (lambda: of.perceptron(4, 5, 3), (4,), of.squared_error, 3),
    "one layer, cross-entropy": (lambda: of.perceptron(4, 3), (4,), cross_entropy, 3),
    "gelu, squared error": (lambda: of.perceptron(4, 5, 3, activation=nn.GELU), (4,), of.squared_error, 3),
    "narrow and deep": (lambda: of.perceptron(4, 1, 1, 1, 3), (4,), of.squared_error, 3),
    "one wide, in place": (lambda: Residual().double(), (2, 2), of.squared_error, 1),
    "convolution": (convolution, (2, 4, 4), of.squared_error, 2),
}


@pytest.mark.parametrize("name", EXACT)
def test_equals_the_hessian_where_nothing_is_left_out(name):
    build, shape, loss, classes = EXACT[name]
    network, (inputs, labels) = build(), of.rows(*shape, classes=classes)
    if name == "convolution":
        network[1].running_var.uniform_(0.5, 2)
    found = hessian_diagonals(network, of.batches(inputs, labels), loss)
    expected = of.whole_hessian(network, inputs, labels, loss).diagonal()
    torch.testing.assert_close(of.flat(found), expected, rtol=1e-11, atol=1e-12)


def by_hand(network, inputs, labels, gauss_newton):
    """The paper's sums for three layers of tanh and cross-entropy, unit by unit."""
    layers = [module for module in network if isinstance(module, nn.Linear)]
    sums = [torch.zeros_like(layer.weight) for layer in layers]
    for x, label in zip(inputs, labels, strict=True):
        values, totals = [x], []
        for layer in layers:
            totals.append(layer.weight @ values[-1] + layer.bias)
            values.append(totals[-1].tanh())
        p = totals[-1].softmax(0)
        slope, second = p - nn.functional.one_hot(label, len(p)), p * (1 - p)  # by the totals of the last layer
        for k in reversed(range(3)):
            for i in range(len(second)):
                for j in range(len(values[k])):
                    sums[k][i, j] += second[i] * values[k][j] ** 2 / len(inputs)
            if k:
                first = 1 - values[k] ** 2
                bent = 0 if gauss_newton else -2 * values[k] * first * (layers[k].weight.T @ slope)
                second = first**2 * (layers[k].weight.T ** 2 @ second) + bent
                slope = first * (layers[k].weight.T @ slope)
    return torch.cat([total.reshape(-1) for total in sums])


@pytest.mark.parametrize("gauss_newton", [False, True])
@torch.no_grad()
def test_equals_the_sums_of_the_paper_where_cross_terms_are_left_out(gauss_newton):
    network, (inputs, labels) = of.perceptron(4, 5, 4, 3), of.rows(4)
    found = of.flat(hessian_diagonals(network, of.batches(inputs, labels), gauss_newton=gauss_newton))
    torch.testing.assert_close(found, by_hand(network, inputs, labels, gauss_newton), rtol=1e-11, atol=1e-13)
    exact = of.whole_hessian(network, inputs, labels, cross_entropy).diagonal()
    last = network[4].weight.numel()
    torch.testing.assert_close(found[-last:], exact[-last:])
    assert not torch.allclose(found[:-last], exact[:-last], rtol=0.01)
    assert bool((found >= 0).all()) or not gauss_newton


class Before(nn.Module):
    """One weight a channel, then `operator`: what the sweep hands back through it shows in the weight's h."""

    def __init__(self, operator, shape):
        super().__init__()
        self.scale = nn.Conv2d(shape[0], shape[0], 1, groups=shape[0], bias=False)
        self.operator, self.flatten = operator, nn.Flatten()

    def forward(self, x):
        return self.flatten(self.operator(self.scale(x)))


@pytest.mark.parametrize(
    "operator",
    [
        nn.MaxPool2d(3, 2, 1),
        nn.AvgPool2d(3, 2, 1),
        nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
        nn.AdaptiveAvgPool2d(2),
        nn.Conv2d(2, 3, 3, stride=2, padding=1, padding_mode="circular"),
        nn.ZeroPad2d(1),
    ],
    ids=str,
)
def test_operators_hand_back_the_square_of_their_jacobian(operator):
    """h(w_c) = sum over places p of channel c of x_p^2 sum_o J_op^2 h(o), with h(o) = 2 for squared errors."""
    inputs, labels = of.rows(2, 5, 5, classes=2, count=2)
    network = Before(operator, (2, 5, 5)).double()
    found = hessian_diagonals(network, [(inputs, labels)], lambda o, _: o.square().sum(1).mean())
    with torch.no_grad():
        middle = network.scale(inputs)
    expected = torch.zeros(2, dtype=torch.float64)
    for x, m in zip(inputs, middle, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda v: operator(v[None])[0], m).reshape(-1, 2, 5, 5)
        expected += (jacobian.square().sum(0) * x.square()).sum((1, 2)) * 2 / len(inputs)
    torch.testing.assert_close(found["scale.weight"].reshape(-1), expected)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)

    def forward(self, x):
        y = self.first(x)
        return y + self.second(y).sigmoid()


def test_paths_that_meet_add_up():
    network, (inputs, labels) = Branches().double(), of.rows(3)
    found = hessian_diagonals(network, [(inputs, labels)], of.squared_error)
    y = inputs @ network.first.weight.T
    s = (y @ network.second.weight.T).sigmoid()
    slope = 2 * (y + s - nn.functional.one_hot(labels, 3))
    first = s * (1 - s)
    behind = first**2 * 2 + first * (1 - 2 * s) * slope
    second = 2 + behind @ network.second.weight.square()
    expected = second.T @ inputs.square() / len(inputs)
    torch.testing.assert_close(found["first.weight"], expected)


def test_residual_networks_have_rules():
    torch.manual_seed(0)
    network = models.build("resnet-20").double()
    inputs, labels = of.rows(3, 32, 32, count=2)
    found = hessian_diagonals(network, [(inputs, labels)], gauss_newton=True)
    assert list(found) == [name for name, p in network.named_parameters() if p.ndim > 1]
    assert all(bool((h >= 0).all() & (h > 0).any()) for h in found.values())


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), (4,), "no rule for LayerNorm at '1'"),
        (nn.Sequential(nn.Linear(4, 4), nn.Softmax(1)), (4,), "no rule for Softmax at '1'"),
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)), (4,), "BatchNorm1d at '1'"),
        (nn.Conv2d(2, 3, 1), (2, 4, 4), r"outputs \(batch, outputs\), found \(7, 3, 4, 4\)"),
    ],
)
def test_what_has_no_rule_is_named(network, shape, words):
    with pytest.raises(PrunusError, match=words):
        hessian_diagonals(network.double(), [of.rows(*shape)], lambda o, _: o.sum())
