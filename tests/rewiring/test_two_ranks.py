"""Two processes decide alike: as one that sees all of the batch."""

from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from prunus.holding import hold
from prunus.mask import Mask
from prunus.rewiring import evolutionary, rigl, sparse_momentum

WORKER = Path(__file__).with_name("two_ranks.py")


def alone(make):
    """The same training in one process."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    mask = Mask({name: torch.rand(kept.shape) < 0.4 for name, kept in Mask.dense(model).items()})
    with hold(optimizer, model, mask) as held:
        rewire = make(held, optimizer, model, end=20, every=2, fraction=0.5)
        for step in range(1, 9):
            optimizer.zero_grad()
            torch.manual_seed(step)
            model(torch.randn(8, 6, dtype=torch.float64)).square().mean().backward()
            optimizer.step()
            rewire(step)
    return held.mask, list(model.parameters())


def test_two_processes_are_as_one(two_ranks):
    seen = two_ranks(WORKER)
    assert seen[0] == seen[1]
    assert seen[0]["refused"].startswith("the network is inside DistributedDataParallel")
    dense_too = {rigl: ["Linear", "SparseLinear"], evolutionary: ["SparseLinear"], sparse_momentum: ["Linear"]}
    for make, sparse in product(dense_too, (False, True)):
        mask, weights = alone(make)
        found = seen[0][f"{make.__name__}, {sparse}"]
        assert found["layers"] == (dense_too[make] if sparse else ["Linear"])
        assert found["moved"] > 0.05
        assert {n: kept.flatten().nonzero().flatten().tolist() for n, kept in mask.items()} == found["mask"]
        for value, expected in zip(found["weights"], weights, strict=True):
            assert value == pytest.approx(expected.flatten().tolist(), rel=1e-9, abs=1e-12)
