"""Layers measured behind pruned ones: by hand, and better than all measured at once."""

import pytest
import torch
from torch import nn

from prunus import scope
from prunus.errors import PrunusError
from prunus.inputs import input_grams
from prunus.layerwise import in_order, sparsegpt
from prunus.tree import plain_weights


def method(weights, grams):
    return sparsegpt(weights, grams, 0.5, scope=scope.row)


def test_the_second_layer_reads_what_the_pruned_first_gives():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4)).double()
    before = plain_weights(network)["0.weight"].clone()
    rows = torch.randn(60, 8, dtype=torch.float64)
    moved, mask = in_order(network, zip(rows.split(25), rows.split(25), strict=True), method)
    assert torch.equal(network[0].weight, before)
    assert mask.density == 0.5
    first, _ = method({"0.weight": before}, {"0.weight": rows.T @ rows})
    torch.testing.assert_close(moved["0.weight"], first["0.weight"])
    hidden = (rows @ first["0.weight"].T + network[0].bias.detach()).relu()
    second, kept = method({"2.weight": network[2].weight.detach()}, {"2.weight": hidden.T @ hidden})
    torch.testing.assert_close(moved["2.weight"], second["2.weight"])
    assert torch.equal(mask["2.weight"], kept["2.weight"])
    at_once, _ = method(network, input_grams(network, [(rows, rows)]))
    assert not torch.allclose(moved["2.weight"], at_once["2.weight"])


def test_layers_of_a_block_are_measured_together_behind_the_blocks_before():
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)) for _ in range(2))).double()
    batches = [(torch.randn(60, 8, dtype=torch.float64), None)]
    calls = []

    def noted(weights, grams):
        calls.append((list(weights), grams))
        return method(weights, grams)

    moved, _ = in_order(network, batches, noted, blocks=["0", "1"])
    assert [names for names, _ in calls] == [["0.0.weight", "0.2.weight"], ["1.0.weight", "1.2.weight"]]
    first, _ = method(network[0], input_grams(network[0], batches))
    hidden = torch.func.functional_call(network[0], first, (batches[0][0],)).detach()
    second, _ = method(network[1], input_grams(network[1], [(hidden, None)]))
    for block, expected in enumerate((first, second)):
        for name, weight in expected.items():
            torch.testing.assert_close(moved[f"{block}.{name}"], weight)
    with pytest.raises(PrunusError, match="block 2 holds no Linear"):
        in_order(network, batches, method, blocks=["0", "2"])
