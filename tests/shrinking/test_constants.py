"""A removed channel's constant goes where the next layer can take it; where none can, the channel stays."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from prunus.mask import Mask
from prunus.shrinking import shrink

from .networks import check_same, drawn

DEAD = 2  # of the four channels in the middle


def norm_mask():
    """Channel `DEAD` of the BatchNorm at place 1 scaled by zero: it gives the norm's bias."""
    return Mask({"1.weight": torch.arange(4) != DEAD})


def width(*reader, activation=None, bias_of_dead=1.5):
    """Channels left in front of the layers `reader` after one that constantly has the value `bias_of_dead`."""
    model = drawn(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), activation or nn.Identity(), *reader, nn.Flatten()
        )
    )
    with torch.no_grad():
        model[1].bias[DEAD] = bias_of_dead
    small = shrink(model, norm_mask(), example=torch.randn(2, 3, 7, 7))
    check_same(model, norm_mask(), small, (2, 3, 7, 7))
    assert len(small[0].weight) == len(small[1].weight) == len(small[1].running_mean) == small[1].num_features
    assert small[3].weight.shape[1] == small[1].num_features
    return small[1].num_features


@pytest.mark.parametrize("padding", [{}, {"padding": "valid"}, {"padding": 1, "padding_mode": "replicate"}])
def test_a_constant_goes_into_the_bias_where_no_zeros_are_around_it(padding):
    assert width(nn.Conv2d(4, 2, 3, **padding)) == 3


@pytest.mark.parametrize("padding", [1, (0, 1), "same"])
def test_a_constant_stays_where_zeros_are_around_it(padding):
    assert width(nn.Conv2d(4, 2, 3, padding=padding)) == 4


@pytest.mark.parametrize("padding", [1, "same"])
def test_zero_behind_the_activation_goes_whatever_the_padding(padding):
    assert width(nn.Conv2d(4, 2, 3, padding=padding), activation=nn.ReLU(), bias_of_dead=-1.5) == 3


def test_padding_same_of_a_single_pixel_is_none():
    assert width(nn.Conv2d(4, 2, 1, padding="same")) == 3


def test_without_a_bias_the_next_norm_takes_the_constant():
    assert width(nn.Conv2d(4, 2, 3, bias=False), nn.BatchNorm2d(2)) == 3


@pytest.mark.parametrize(
    "after", [nn.Identity(), nn.Sequential(nn.ReLU(), nn.BatchNorm2d(2)), nn.BatchNorm2d(2, track_running_stats=False)]
)
def test_without_a_place_for_it_the_constant_stays(after):
    assert width(nn.Conv2d(4, 2, 3, bias=False), after) == 4


def test_without_a_place_zero_goes():
    assert width(nn.Conv2d(4, 2, 3, bias=False), bias_of_dead=0.0) == 3


def test_a_norm_that_not_only_reads_the_layer_takes_no_constant():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.norm = nn.Linear(3, 4), nn.Linear(4, 2, bias=False), nn.BatchNorm1d(2)

        def forward(self, x):
            both = self.second(self.first(x))
            return self.norm(both) + both

    model, mask = drawn(Both()), Mask({"first.weight": (torch.arange(4) != DEAD)[:, None].expand(4, 3)})
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    assert small.first.out_features == 4


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Sigmoid, nn.Softplus, nn.ELU, nn.Hardswish])
def test_what_a_linear_unit_without_weights_gives_is_folded(activation):
    model = drawn(nn.Sequential(nn.Linear(3, 4), activation(), nn.Linear(4, 2)))
    mask = Mask({"0.weight": (torch.arange(4) != DEAD)[:, None].expand(4, 3)})
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    constant = model[1](model[0].bias[DEAD])
    torch.testing.assert_close(small[2].bias, model[2].bias + model[2].weight[:, DEAD] * constant)
    rest = [0, 1, 3]
    assert torch.equal(small[0].weight, model[0].weight[rest])
    assert torch.equal(small[2].weight, model[2].weight[:, rest])


WRITTEN = {
    "F.relu6": F.relu6,
    "F.leaky_relu": lambda x: F.leaky_relu(x, negative_slope=0.3),
    "F.hardtanh": F.hardtanh,
    "F.logsigmoid": F.logsigmoid,
    "F.threshold": lambda x: F.threshold(x, 0.1, -2),
    "F.dropout": lambda x: F.dropout(x, training=False),
    "torch.tanh": torch.tanh,
    "relu_": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(min=-0.5),
    "sigmoid": lambda x: x.sigmoid(),
    "exp": lambda x: x.abs().exp(),
    "swish": lambda x: x * torch.sigmoid(x),
    "numbers": lambda x: 1 - (2 * -x + 1) / 3,
}


@pytest.mark.parametrize("function", WRITTEN.values(), ids=WRITTEN)
def test_activations_as_people_write_them(function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.after = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.after(function(self.before(x)))

    model = drawn(Net())
    mask = Mask({"before.weight": (torch.arange(4) != DEAD)[:, None].expand(4, 3)})
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    assert small.before.out_features == 3


def test_constants_pass_through_several_layers():
    """Unit 0 of the first layer is constant, so unit 0 of the second is, which reads nothing else."""
    model = drawn(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)))
    mask = Mask.dense(model)
    mask["0.weight"][0] = False
    mask["2.weight"][0, 1:] = False
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    assert (small[0].out_features, small[2].out_features) == (3, 4)


def test_unread_units_leave_what_they_alone_read_unread():
    model = drawn(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)))
    mask = Mask.dense(model)
    mask["4.weight"][:, 3] = False  # so unit 3 of the second layer goes
    mask["2.weight"][:, 1] = torch.arange(5) == 3  # and unit 1 of the first, which only that one reads
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    assert (small[0].out_features, small[2].out_features) == (3, 4)


@pytest.mark.parametrize(
    ("pool", "kept"),
    [
        (nn.MaxPool2d(3, 1, padding=1), 3),
        (nn.AvgPool2d(2), 3),
        (nn.AvgPool2d(3, 1, padding=1), 4),  # averages zeros at the edge
        (nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), 3),
        (nn.AdaptiveAvgPool2d(1), 3),
        (nn.AdaptiveMaxPool2d(2), 3),
    ],
)
def test_a_pool_of_constants(pool, kept):
    assert width(nn.Conv2d(4, 2, 1), activation=pool) == kept


def test_a_norm_with_statistics_of_each_batch_makes_a_constant_its_bias():
    model = drawn(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2)))
    mask = Mask({"0.weight": (torch.arange(4) != DEAD)[:, None].expand(4, 3)})
    small = shrink(model, mask, example=torch.randn(6, 3))
    check_same(model, mask, small, (5, 3))
    torch.testing.assert_close(small[2].bias, model[2].bias + model[2].weight[:, DEAD] * model[1].bias[DEAD])


def test_a_channel_that_never_varied_has_no_variance():
    model = drawn(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)))
    mask = Mask({"0.weight": (torch.arange(4) != DEAD)[:, None].expand(4, 3)})
    with torch.no_grad():
        model[1].running_var[DEAD] = 0
        model[1].running_mean[DEAD] = model[0].bias[DEAD] - 1e-3
    small = shrink(model, mask, example=torch.randn(6, 3))
    check_same(model, mask, small, (5, 3))
    assert small[1].num_features == 3


def test_a_network_that_gives_a_constant_keeps_one_channel_a_layer():
    model = drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(45, 2)))
    mask = Mask({"2.weight": torch.zeros(5, 4, 3, 3, dtype=torch.bool)})
    small = shrink(model, mask, example=torch.randn(2, 3, 7, 7))
    check_same(model, mask, small, (2, 3, 7, 7))
    assert (small[0].out_channels, small[2].out_channels, small[4].in_features) == (1, 1, 9)


def test_the_last_channel_of_a_layer_is_the_one_that_reads_least():
    model = drawn(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)))
    mask = Mask.dense(model)
    mask["4.weight"][:] = False
    mask["2.weight"][DEAD, 1:] = False
    small = shrink(model, mask, example=torch.randn(2, 3))
    check_same(model, mask, small, (5, 3))
    assert (small[0].out_features, small[2].out_features) == (1, 1)
    assert torch.equal(small[2].bias, model[2].bias[[DEAD]])
