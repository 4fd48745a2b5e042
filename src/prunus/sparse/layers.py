"""Layers with a parameter of kept values in place of a weight with zeros."""

from collections.abc import Callable
from math import prod
from typing import Any, Self

import torch
from torch import Tensor, nn

from prunus import kernel
from prunus.sparse.chain import Chain


class SparseLayer(nn.Module):
    """What sparse layers have in common.

    `values` (kept,) are those entries of the weight that `connections` have, `bias` is (outputs,) or None. In a `chain`
    inputs come as lanes where `takes_lanes`, and outputs go as lanes where `gives_lanes`.
    """

    values: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, connections: Any, values: nn.Parameter, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.connections, self.values, self.bias = connections, values, bias
        self.chain: Chain | None = None
        self.takes_lanes = self.gives_lanes = False

    @property
    def density(self) -> float:
        """Kept / total."""
        total: int = prod(self.connections.shape)
        return len(self.values) / max(1, total)

    def weight(self) -> Tensor:
        """The weight with exact zeros where it is pruned."""
        return kernel.scattered(self.values, self.connections)

    def _run(self, inputs: Tensor, layer: Callable[..., Tensor], layer_on_lanes: Callable[..., Tensor]) -> Tensor:
        own = kernel.Layer(self.values, self.bias, self.connections)
        if self.chain is None or self.chain.takes_batch(inputs, (own,), self.takes_lanes):
            return layer(inputs, *own[:3])
        lanes = inputs if self.takes_lanes else self.chain.to_lanes(inputs)
        outputs = layer_on_lanes(lanes, *own[:3])
        return outputs if self.gives_lanes else self.chain.from_lanes(outputs)

    def extra_repr(self) -> str:
        """What the module is printed with."""
        return f"{tuple(self.connections.shape)}, density={self.density:.4g}, bias={self.bias is not None}"


class SparseLinear(SparseLayer):
    """`torch.nn.Linear` with few weights.

    >>> dense = nn.Linear(4, 2)
    >>> SparseLinear.of(dense, torch.eye(2, 4).bool())
    SparseLinear((2, 4), density=0.25, bias=True)
    """

    @classmethod
    def of(cls, dense: nn.Linear, kept: Tensor) -> Self:
        """The layer with those weights of `dense` that a boolean `kept` (outputs, inputs) leaves; its own bias."""
        connections = kernel.LinearConnections.of(kept)
        return cls(connections, _values(dense.weight, connections), _parameter(dense.bias))

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        return self._run(inputs, kernel.linear, kernel.linear_on_lanes)

    @torch.no_grad()
    def dense(self) -> nn.Linear:
        """The dense layer that computes the same, with this one's bias."""
        outputs, inputs = self.connections.shape
        made = nn.Linear(inputs, outputs, bias=False, device="meta")
        return _completed(made, self)  # type: ignore[no-any-return]


class SparseConv2d(SparseLayer):
    """`torch.nn.Conv2d` with few weights; zeros for padding."""

    @classmethod
    def of(cls, dense: nn.Conv2d, kept: Tensor) -> Self:
        """As `SparseLinear.of`, with `kept` (outputs, inputs / groups, height, width)."""
        stride, padding, dilation = (_pair(size) for size in (dense.stride, dense.padding, dense.dilation))
        connections = kernel.ConvConnections.of(kept, kernel.Window(stride, padding, dilation, dense.groups))
        return cls(connections, _values(dense.weight, connections), _parameter(dense.bias))

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, outputs, height, width)."""
        return self._run(inputs, kernel.conv2d, kernel.conv2d_on_lanes)

    @torch.no_grad()
    def dense(self) -> nn.Conv2d:
        """As `SparseLinear.dense`."""
        (outputs, some, high, wide), window = self.connections.shape, self.connections.window
        channels = some * window.groups
        settings = (window.stride, window.padding, window.dilation, window.groups)
        made = nn.Conv2d(channels, outputs, (high, wide), *settings, bias=False, device="meta")
        return _completed(made, self)  # type: ignore[no-any-return]


def _values(weight: Tensor, connections: Any) -> nn.Parameter:
    return nn.Parameter(kernel.gathered(weight.detach(), connections), requires_grad=weight.requires_grad)


def _parameter(bias: Any) -> nn.Parameter | None:
    found: nn.Parameter | None = bias
    return found


def _completed(made: Any, sparse: SparseLayer) -> Any:
    made.weight = nn.Parameter(sparse.weight(), requires_grad=sparse.values.requires_grad)
    made.bias = sparse.bias
    return made.train(sparse.training)


def _pair(size: Any) -> tuple[int, int]:
    return int(size[0]), int(size[1])
