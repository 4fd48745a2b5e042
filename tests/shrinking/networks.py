"""Networks to shrink, their masks, and what shrinking must not change."""

import copy
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from prunus.mask import Mask
from prunus.tree import weights


class Residual(nn.Module):
    """Two blocks on one trunk of `maps` channels, with any activation."""

    def __init__(self, maps=6, inner=5, activation=nn.LeakyReLU):
        super().__init__()
        self.stem = nn.Conv2d(3, maps, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(maps)
        self.into = nn.ModuleList(nn.Conv2d(maps, inner, 1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(inner) for _ in range(2))
        self.out = nn.ModuleList(nn.Conv2d(inner, maps, 1) for _ in range(2))
        self.activation = activation()
        self.classifier = nn.Linear(maps, 4)

    def forward(self, images):
        trunk = self.activation(self.stem_norm(self.stem(images)))
        for into, norm, out in zip(self.into, self.norms, self.out, strict=True):
            trunk = trunk + out(self.activation(norm(into(trunk))))
        return self.classifier(trunk.mean((2, 3)))


class Separable(nn.Module):
    """Depthwise convolutions between pointwise ones, one of them around a shortcut, as in MobileNets."""

    def __init__(self, maps=6, bias=True):
        super().__init__()
        self.stem = nn.Conv2d(3, maps, 3, padding=1)
        self.wide = nn.Conv2d(maps, 8, 1, bias=False)
        self.wide_norm = nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=bias)
        self.depth_norm = nn.BatchNorm2d(8)
        self.narrow = nn.Conv2d(8, maps, 1)
        self.last = nn.Conv2d(maps, maps, 3, groups=maps)
        self.classifier = nn.Linear(maps, 4)

    def forward(self, images):
        trunk = self.stem(images)
        wide = F.leaky_relu(self.wide_norm(self.wide(trunk)))
        inner = F.leaky_relu(self.depth_norm(self.depth(wide)))
        return self.classifier(self.last(trunk + self.narrow(inner)).relu().mean((2, 3)))


class Concatenated(nn.Module):
    """Each layer reads what all before it made, as in DenseNets."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(7, 5, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.third = nn.Conv2d(12, 6, 1)
        self.classifier = nn.Linear(6 * 4, 4)

    def forward(self, images):
        first = F.relu(self.first(images))
        second = self.second(torch.cat([images, first], 1))
        third = self.third(F.relu(self.norm(torch.cat((images, first, second), dim=1))))
        return self.classifier(F.max_pool2d(third, 4).flatten(1))


def perceptron(*widths, activation=nn.LeakyReLU, bias=True):
    layers = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after, bias=bias), activation()]
    return nn.Sequential(*layers[:-1])


def convolutional(activation=nn.LeakyReLU, padding=0, bias=True):
    """conv-norm-activation-pool-conv-norm-activation-flatten-linear-linear on (B, 2, 8, 8)."""
    side = (8 + 2 * padding - 2) // 2 + 2 * padding - 2
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=padding, bias=bias),
        nn.BatchNorm2d(6),
        activation(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 5, 3, padding=padding, bias=bias),
        nn.BatchNorm2d(5),
        activation(),
        nn.Flatten(),
        nn.Linear(5 * side * side, 7),
        activation(),
        nn.Linear(7, 3),
    )


def drawn(model, seed=0):
    """`model` with everything that it can learn or measure drawn at random; statistics too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2, generator=generator)
            elif tensor.is_floating_point():
                tensor.normal_(generator=generator)
    return model


def channel_mask(model, density, seed=0, names=None):
    """Whole outputs of all weights but the last (or of `names`) pruned at random."""
    generator = torch.Generator().manual_seed(seed)
    own = dict(model.named_parameters())
    names = list(weights(model))[:-1] if names is None else names
    kept = {name: torch.rand(len(own[name]), generator=generator) < density for name in names}
    return Mask(
        {name: rows.reshape(-1, *[1] * (own[name].ndim - 1)).expand(own[name].shape) for name, rows in kept.items()}
    )


def masked(model, mask):
    twin = copy.deepcopy(model).eval()
    mask.apply_to(twin)
    return twin


def check_same(model, mask, small, shape, seed=11):
    """`small` computes what `model` under `mask` does, on inputs of `shape` that it has not seen."""
    x = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 0.5
    with torch.no_grad():
        expected, found = masked(model, mask)(x), copy.deepcopy(small).eval()(x)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()


def count(model):
    return sum(p.numel() for p in model.parameters())
