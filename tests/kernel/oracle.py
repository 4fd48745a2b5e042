"""Layers of small whole numbers, whose sums float32 holds exactly, beside PyTorch's dense ones in float64."""

from collections.abc import Callable

import torch
from torch import Tensor

from prunus.kernel import scattered

Layer = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def whole_numbers(*size, seed=0):
    return torch.randint(-3, 4, size, generator=torch.Generator().manual_seed(seed)).float()


def kept_at(density, *shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density


def computed(layer: Layer, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Outputs, and the gradients of inputs, weight and bias."""
    of = [tensor.clone().requires_grad_() for tensor in (inputs, weight, bias) if tensor is not None]
    outputs = layer(*of, *[None] * (3 - len(of)))
    steps = (torch.arange(outputs.numel()) % 5 - 2).view(outputs.shape).to(outputs)
    return [outputs.detach(), *torch.autograd.grad(outputs, of, steps)]


def assert_exact(layer: Layer, dense: Layer, connections, inputs: Tensor, bias: Tensor | None) -> None:
    """The sparse `layer` equals `dense`, of the whole weight in float64, bit for bit."""
    values = whole_numbers(len(connections.entries), seed=1)
    weight = scattered(values, connections).double()
    found = computed(layer, inputs, values, bias)
    expected = computed(dense, inputs.double(), weight, None if bias is None else bias.double())
    expected[2] = expected[2].flatten()[connections.entries]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.double(), other)
