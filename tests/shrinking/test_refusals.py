"""What cannot be followed is refused by name, and the network stays as it was."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.shrinking import shrink, wiring

IMAGES = (2, 4, 4, 4)  # as high as there are channels: a mean over channels has the shape of one over rows


class Net(nn.Module):
    """A convolution, whatever `middle` does with its maps and the module `part`, and a classifier."""

    def __init__(self, middle, part=None, features=4):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.part = part
        self.middle = middle
        self.fc = nn.Linear(features, 2)

    def forward(self, images):
        return self.fc(self.middle(self, self.conv(images)))


def pooled(maps):
    return maps.mean((2, 3))


REFUSED = {
    "concatenation of rows": (Net(lambda net, x: pooled(torch.cat([x, x], 2))), "cat at 'cat' joins along dimension 2"),
    "concatenation with a number": (
        Net(lambda net, x: pooled(torch.cat([x, net.part.weight], 1)), nn.Conv2d(4, 2, 4), features=8),
        "part.weight",
    ),
    "stacking": (Net(lambda net, x: torch.stack([x, x]).sum((0, 3, 4))), "stack at 'stack'"),
    "groups": (Net(lambda net, x: pooled(net.part(x)), nn.Conv2d(4, 4, 3, groups=2)), "Conv2d at 'part' has 2"),
    "depthwise, two each": (
        Net(lambda net, x: pooled(net.part(x)), nn.Conv2d(4, 8, 3, groups=4), features=8),
        "Conv2d at 'part' has 4",
    ),
    "transposed": (Net(lambda net, x: pooled(net.part(x)), nn.ConvTranspose2d(4, 4, 2)), "ConvTranspose2d at 'part'"),
    "one-dimensional": (Net(lambda net, x: net.part(x.flatten(2)).mean(2), nn.Conv1d(4, 4, 3)), "Conv1d at 'part'"),
    "group norm": (Net(lambda net, x: pooled(net.part(x)), nn.GroupNorm(2, 4)), "GroupNorm at 'part'"),
    "attention": (
        Net(lambda net, x: net.part(*[x.flatten(2)] * 3)[0].mean(2), nn.MultiheadAttention(16, 2, batch_first=True)),
        "MultiheadAttention at 'part'",
    ),
    "bare attention": (
        Net(lambda net, x: pooled(F.scaled_dot_product_attention(x, x, x))),
        "scaled_dot_product_attention at 'scaled_dot_product_attention'",
    ),
    "recurrent": (Net(lambda net, x: net.part(x.flatten(2))[0].mean(2), nn.LSTM(16, 4)), "LSTM at 'part'"),
    "split": (Net(lambda net, x: pooled(x.chunk(2, 1)[0]), features=2), "chunk at 'chunk'"),
    "some channels": (Net(lambda net, x: pooled(x[:, :2]), features=2), "getitem at 'getitem' makes"),
    "one channel": (Net(lambda net, x: x[:, 0].flatten(1), features=16), "getitem at 'getitem'"),
    "part of the batch": (Net(lambda net, x: pooled(x[1:])), "getitem at 'getitem'"),
    "permutation": (Net(lambda net, x: x.permute(0, 2, 3, 1).mean((1, 2))), "permute at 'permute'"),
    "mixing reshape": (Net(lambda net, x: pooled(x.reshape(2, 2, 2, 16)), features=2), "reshape at 'reshape' makes"),
    "mean over channels": (Net(lambda net, x: x.mean(1).flatten(1), features=16), "mean at 'mean' is"),
    "mean over all": (Net(lambda net, x: x.mean() + pooled(x)), "mean at 'mean' gives"),
    "one for all channels": (Net(lambda net, x: pooled(x) + x.flatten(1).mean(1, keepdim=True)), "mean at 'mean_1'"),
    "bare parameter": (Net(lambda net, x: pooled(net.part.weight * x), nn.Conv2d(4, 1, (4, 1))), "part.weight"),
    "bare linear": (Net(lambda net, x: F.linear(pooled(x), net.part.weight), nn.Linear(4, 4)), "part.weight"),
    "linear over a side": (Net(lambda net, x: pooled(net.part(x)), nn.Linear(4, 4)), "Linear at 'part' reads"),
    "padding of the batch": (Net(lambda net, x: pooled(F.pad(x, (0,) * 6 + (0, 1)))), "pad at 'pad'"),
    "cropping of channels": (Net(lambda net, x: pooled(F.pad(x, (0, 0, 0, 0, 0, -1))), features=3), "pad at 'pad'"),
    "pool over channels": (Net(lambda net, x: F.max_pool1d(pooled(x), 3, 1, 1)), "max_pool1d at 'max_pool1d'"),
    "control flow": (Net(lambda net, x: pooled(x) if x.sum() > 0 else pooled(-x)), "cannot be traced"),
}


class Tokens(nn.Module):
    """A transformer's MLP around a shortcut: layers read the last of (batch, tokens, features)."""

    def __init__(self, before=nn.Identity):
        super().__init__()
        self.before, self.up, self.down = before(), nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, tokens):
        return tokens + self.down(F.gelu(self.up(self.before(tokens))))


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def check_refused(model, words, mask=None, shape=IMAGES):
    before, modules, modes = state(model), list(model.modules()), [module.training for module in model.modules()]
    with pytest.raises(PrunusError, match=words) as refusal:
        shrink(model, mask, example=torch.randn(shape))
    message = str(refusal.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert list(model.modules()) == modules
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    model, words = REFUSED[case]
    check_refused(model, f"Net cannot be shrunk: .*{words}")


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (nn.Identity, r"Linear at 'up' reads a tensor of shape \(2, 3, 4\)"),
        (lambda: nn.LayerNorm(4), "LayerNorm at 'before'"),
    ],
)
def test_features_behind_tokens(before, words):
    """Its masked network stays: it computes what it did without the hidden units that are pruned."""
    model = Tokens(before)
    hidden = torch.arange(8) < 5
    mask = Mask({"up.weight": hidden[:, None].expand(8, 4), "down.weight": hidden.expand(4, 8)})
    mask.apply_to(model)
    check_refused(model, f"Tokens cannot be shrunk: {words}", mask, (2, 3, 4))
    with pytest.raises(PrunusError, match=words):
        wiring(model, example=torch.randn(2, 3, 4))
    tokens = torch.randn(2, 3, 4)
    units = F.gelu(F.linear(model.before(tokens), model.up.weight[:5], model.up.bias[:5]))
    torch.testing.assert_close(model(tokens), tokens + F.linear(units, model.down.weight[:, :5], model.down.bias))


def perceptron_mask(unit):
    return Mask({"0.weight": (torch.arange(4) != unit)[:, None].expand(4, 3)})


def test_several_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(x), x

    check_refused(Two(), "its output is a tuple", shape=(2, 3))


class HardCoded(nn.Module):
    """The view says how many features there are."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4 * 9, 2)

    def forward(self, images):
        return self.fc(torch.relu(self.conv(images)).view(-1, 36))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_shape_in_the_code_is_refused_only_where_it_breaks(batch):
    mask = Mask({"conv.weight": torch.arange(4).reshape(4, 1, 1, 1).expand(4, 1, 3, 3) != 1})
    shape = (batch, 1, 5, 5)
    check_refused(HardCoded(), r"HardCoded cannot be shrunk: with fewer channels it does not run \(", mask, shape)
    assert shrink(HardCoded(), example=torch.randn(shape)).fc.in_features == 36


def test_an_activation_with_a_weight_for_each_unit():
    model = nn.Sequential(nn.Linear(3, 4), nn.PReLU(4), nn.Linear(4, 2))
    check_refused(model, "with fewer channels it does not run", perceptron_mask(1), (2, 3))
    assert shrink(model, example=torch.randn(2, 3))[0].out_features == 4


def test_outputs_that_would_differ():
    """The graph does not tell that the activation overwrites what is added to it."""

    class Overwritten(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.after = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            hidden = self.before(x)
            return self.after(torch.relu_(hidden) + hidden)

    model = Overwritten()
    with torch.no_grad():
        model.before.bias[1] = -2
    mask = Mask({"before.weight": perceptron_mask(1)["0.weight"]})
    check_refused(model, r"outputs would differ by \d", mask, (2, 3))


def test_outputs_that_are_not_numbers():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[2].bias[0] = torch.inf
    check_refused(model, "would differ by nan", perceptron_mask(1), (2, 3))


def test_an_example_that_does_not_fit():
    check_refused(nn.Sequential(nn.Linear(3, 4)), "Sequential does not run on the example", shape=(2, 5))


def test_a_mask_that_does_not_fit():
    check_refused(nn.Sequential(nn.Linear(3, 4)), "1.weight", Mask({"1.weight": torch.ones(4, 3).bool()}), (2, 3))
    check_refused(nn.Sequential(nn.Linear(3, 4)), "0.weight", Mask({"0.weight": torch.ones(3, 4).bool()}), (2, 3))


def test_weights_that_are_computed():
    pruned = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    prune.random_unstructured(pruned[0], "weight", 0.5)
    with pytest.raises(PrunusError, match="Sequential cannot be copied: a weight of it is computed"):
        shrink(pruned, example=torch.randn(2, 3))
    with torch.no_grad():
        pruned(torch.randn(2, 3))  # the weight is computed anew, and can be copied
    check_refused(pruned, "Linear at '0' computes its weight", shape=(2, 3))
    orthogonal = nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Linear(3, 4)), nn.ReLU(), nn.Linear(4, 2))
    check_refused(orthogonal, "ParametrizedLinear at '0'", shape=(2, 3))
