"""Small networks in double precision, batches for them, and the whole Hessian of the mean loss by torch.func."""

from itertools import pairwise

import torch
from torch import nn
from torch.func import functional_call, jacrev

from prunus.tree import weights


def perceptron(*sizes, activation=nn.Tanh):
    torch.manual_seed(0)
    layers = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1]).double()


def rows(*shape, classes=3, count=7):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    return inputs, torch.arange(count) % classes


def batches(inputs, labels):
    """Of unequal sizes."""
    return zip(inputs.split(3), labels.split(3), strict=True)


def squared_error(outputs, labels):
    targets = torch.eye(outputs.shape[1], dtype=outputs.dtype)[labels]
    return (outputs - targets).square().sum(1).mean()


def whole_hessian(network, inputs, labels, loss):
    """(n, n), the prunable weights in their order, flattened."""
    own = {name: weight.detach() for name, weight in weights(network).items()}
    sizes, shapes = [w.numel() for w in own.values()], [w.shape for w in own.values()]

    def of(flat):
        parts = flat.split(sizes)
        values = {n: p.reshape(s) for n, p, s in zip(own, parts, shapes, strict=True)}
        return loss(functional_call(network, values, (inputs,)), labels)

    network.eval()
    return jacrev(jacrev(of))(torch.cat([w.reshape(-1) for w in own.values()])).detach()


def flat(tree):
    return torch.cat([tensor.reshape(-1) for tensor in tree.values()])
