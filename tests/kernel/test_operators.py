"""torch.compile and torch.export see operators where eager code sees functions; both compute the same."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.export import Dim

from prunus.kernel import (
    ConvConnections,
    LinearConnections,
    Window,
    conv2d,
    from_lanes,
    linear,
    linear_on_lanes,
    operators,
    to_lanes,
)

from .oracle import computed, kept_at

MATRIX = LinearConnections.of(kept_at(0.4, 6, 18))
IMAGE = ConvConnections.of(kept_at(0.4, 4, 2, 3, 3), Window((2, 2), (1, 1)))


def linear_through_lanes(inputs, values, bias, connections):
    return from_lanes(linear_on_lanes(to_lanes(inputs), values, bias, connections), inputs.shape[0])


CASES = [(linear, MATRIX, (20, 18)), (linear_through_lanes, MATRIX, (20, 18)), (conv2d, IMAGE, (20, 2, 6, 5))]


@pytest.mark.parametrize(("layer", "connections", "shape"), CASES)
def test_compiled_layers_are_whole_graphs_and_compute_the_same(layer, connections, shape):
    inputs, values = torch.randn(shape), torch.randn(len(connections.entries))
    bias = torch.randn(connections.shape[0])
    eager = partial(layer, connections=connections)
    compiled = torch.compile(eager, backend="aot_eager", fullgraph=True)
    for one, other in zip(computed(compiled, inputs, values, bias), computed(eager, inputs, values, bias), strict=True):
        assert torch.equal(one, other)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Parameter(torch.randn(len(IMAGE.entries)))
        self.matrix = nn.Parameter(torch.randn(len(MATRIX.entries)))

    def forward(self, inputs):
        hidden = conv2d(inputs, self.image, None, IMAGE)
        return linear(hidden.flatten(2)[:, :2].flatten(1), self.matrix, None, MATRIX)


def test_an_exported_network_takes_any_batch():
    network = Network()
    exported = torch.export.export(network, (torch.randn(4, 2, 6, 5),), dynamic_shapes=({0: Dim("batch", min=2)},))
    names = [node.target.__name__ for node in exported.graph.nodes if node.op == "call_function"]
    assert [name for name in names if name in ("conv2d.default", "linear.default")] == [
        "conv2d.default",
        "linear.default",
    ]
    inputs = torch.randn(33, 2, 6, 5)
    assert torch.equal(exported.module()(inputs), network(inputs))


@pytest.mark.parametrize(
    ("operator", "connections", "shape"),
    [(operators.linear, MATRIX, (3, 18)), (operators.conv2d, IMAGE, (3, 2, 6, 5))],
)
@pytest.mark.parametrize("on_lanes", [False, True])
def test_operators_keep_the_rules_of_torch(operator, connections, shape, on_lanes):
    inputs = torch.randn(*shape, *(16,) * on_lanes, requires_grad=True)
    values, bias = torch.randn(len(connections.entries), requires_grad=True), torch.randn(connections.shape[0])
    torch.library.opcheck(operator, (inputs, values, bias.requires_grad_(), *connections.taken_apart(), on_lanes))


def test_turning_keeps_the_rules_of_torch():
    torch.library.opcheck(operators.to_lanes, (torch.randn(20, 3, requires_grad=True),))
    torch.library.opcheck(operators.from_lanes, (torch.randn(2, 3, 16, requires_grad=True), 20))
