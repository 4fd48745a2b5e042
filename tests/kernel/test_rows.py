"""Few rows are multiplied along kept entries where no gradient is wanted: the same outputs as of dense layers."""

import pytest
import torch
import torch.nn.functional as F

from prunus.kernel import Layer, LinearConnections, has_few_rows, linear, scattered

from .oracle import kept_at, whole_numbers


@pytest.mark.parametrize("density", [0.0, 0.05, 0.4, 1.0])
@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (33, 70), (300, 1100), (5, 0)])
def test_outputs_are_exact(outputs: int, inputs: int, density: float) -> None:
    kept = kept_at(density, outputs, inputs)
    kept[outputs // 2] = False
    connections = LinearConnections.of(kept)
    values = whole_numbers(len(connections.entries), seed=1)
    weight = scattered(values, connections).double()
    for batch in range(10):
        some = whole_numbers(inputs, 2 * batch, seed=batch).t()[::2]
        for bias in (None, whole_numbers(outputs, seed=2)):
            expected = F.linear(some.double(), weight, None if bias is None else bias.double())
            assert torch.equal(linear(some, values, bias, connections).double(), expected)


def test_a_row_is_the_same_in_any_small_batch_and_on_any_threads(one_thread: None) -> None:
    connections = LinearConnections.of(kept_at(0.1, 400, 500))
    values, inputs = torch.randn(len(connections.entries)), torch.randn(4, 500)
    alone = [linear(row[None], values, None, connections) for row in inputs]
    torch.set_num_threads(3)
    for count in range(1, 5):
        assert torch.equal(linear(inputs[:count], values, None, connections), torch.cat(alone[:count]))


def test_whoever_wants_gradients_or_has_many_rows_takes_lanes() -> None:
    connections = LinearConnections.of(kept_at(0.5, 4, 6))
    values, bias = torch.randn(len(connections.entries)), torch.randn(4)
    assert has_few_rows(torch.ones(8, 6), [Layer(values, bias, connections)])
    assert not has_few_rows(torch.ones(9, 6), [Layer(values, bias, connections)])
    for place in range(3):
        tensors = [torch.ones(2, 6), values.clone(), bias.clone()]
        tensors[place].requires_grad_()
        layer = Layer(tensors[1], tensors[2], connections)
        assert not has_few_rows(tensors[0], [layer])
        assert linear(tensors[0], *layer[:3]).requires_grad
        with torch.no_grad():
            assert has_few_rows(tensors[0], [layer])
