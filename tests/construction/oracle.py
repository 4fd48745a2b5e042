"""What a pruned random network computes, worked out from its nonzero weights alone; and networks to aim at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn


@dataclass
class Given:
    """Instead of random weights, these, one tensor after the other."""

    tensors: Sequence[Tensor]
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def draw(self, seed: int, stream: int, shape: tuple[int, ...]) -> Tensor:
        self.shapes.append(shape)
        return self.tensors[stream].float().reshape(shape)


def perceptron(*widths: int, bias: bool = True, seed: int = 0, scale: float = 1.0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after, bias=bias), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= scale
    return network


def augmented(layer: nn.Linear) -> Tensor:
    """Weights, with the biases as last column."""
    weight = layer.weight.detach().double()
    return weight if layer.bias is None else torch.cat([weight, layer.bias.detach().double()[:, None]], 1)


def halves_of_diamond(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """What multiplies relu(x) and -relu(-x), path by path, of the layers u (hidden, in) and v (out, hidden)."""
    positive = torch.zeros(second.shape[0], first.shape[1], dtype=torch.float64)
    negative = torch.zeros_like(positive)
    for hidden, row in enumerate(first.tolist()):
        sources = [(place, u) for place, u in enumerate(row) if u != 0]
        assert len(sources) <= 1, "a hidden unit of a diamond reads one input"
        for place, u in sources:
            for output, v in enumerate(second[:, hidden].tolist()):
                (positive if u > 0 else negative)[output, place] += u * v
    return positive, negative


def with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
