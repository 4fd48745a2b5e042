"""One of two processes that train together, sparse from the start; prints what it saw. Run by test_two_ranks.py."""

import json
import sys

import torch
from torch import distributed, nn

from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.mask import Mask
from prunus.rewiring import evolutionary, rigl, sparse_momentum
from prunus.sparse import hold_sparse


def observe(make, rank, sparse):
    """Gradients are averaged by torch, or where layers are sparse by hand."""
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    model = inner if sparse else nn.parallel.DistributedDataParallel(inner)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    mask = Mask({name: kept & (torch.rand(kept.shape) < 0.4) for name, kept in Mask.dense(model).items()})
    with (hold_sparse if sparse else hold)(optimizer, model, mask) as held:
        rewire = make(held, optimizer, model, end=20, every=2, fraction=0.5)
        layers = set()
        for step in range(1, 9):
            optimizer.zero_grad()
            torch.manual_seed(step)
            inputs = torch.randn(8, 6, dtype=torch.float64)[rank::2]
            model(inputs).square().mean().backward()
            if sparse:
                for parameter in model.parameters():
                    distributed.all_reduce(parameter.grad)
                    parameter.grad /= 2
            optimizer.step()
            rewire(step)
            held.verify()
            layers.add(type(inner[0]).__name__)
        held.release()
        return {
            "mask": {name: kept.flatten().nonzero().flatten().tolist() for name, kept in held.mask.items()},
            "weights": [value.detach().flatten().tolist() for value in inner.parameters()],
            "moved": held.mask.distance(mask),
            "layers": sorted(layers),
        }


def refused():
    """Why layers inside DistributedDataParallel are not made sparse anew."""
    inner = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4))
    optimizer = torch.optim.SGD(inner.parameters(), lr=0.1)
    with hold_sparse(optimizer, inner, Mask.dense(inner)) as held:
        try:
            rigl(held, optimizer, nn.parallel.DistributedDataParallel(inner), end=20)
        except PrunusError as error:
            return str(error)


if __name__ == "__main__":
    rank, meeting_point = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2)
    methods = (rigl, evolutionary, sparse_momentum)
    seen = {f"{make.__name__}, {sparse}": observe(make, rank, sparse) for make in methods for sparse in (False, True)}
    seen["refused"] = refused()
    distributed.destroy_process_group()
    print(json.dumps(seen))
