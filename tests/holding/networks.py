"""A small network, a mask for it, and its training."""

import torch
from torch import nn

from prunus.mask import Mask

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def is_plus_zero(tensor):
    """Bit for bit, so that -0.0 is not."""
    return not tensor.detach().contiguous().view(INTEGERS[tensor.itemsize]).any()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def random_mask(model, density=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Mask(
        {
            name: torch.rand(weight.shape, generator=generator) < density
            for name, weight in model.named_parameters()
            if weight.ndim == 2
        }
    )


def loss(model, seed):
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(seed))
    return (model(x) - 1).square().mean()


def backward(model, seed=0):
    loss(model, seed).backward()


def train(model, optimizer, steps=3, seed=0):
    for step in range(steps):
        optimizer.zero_grad()
        backward(model, seed + step)
        optimizer.step()
