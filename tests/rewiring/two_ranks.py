"""One of two processes that train together, sparse from the start; prints what it saw. Run by test_two_ranks.py."""

import json
import sys

import torch
from torch import distributed, nn

from prunus.holding import hold
from prunus.mask import Mask
from prunus.rewiring import evolutionary, rigl, sparse_momentum


def observe(make, rank):
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    model = nn.parallel.DistributedDataParallel(inner)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    mask = Mask({name: kept & (torch.rand(kept.shape) < 0.4) for name, kept in Mask.dense(model).items()})
    with hold(optimizer, model, mask) as held:
        rewire = make(held, optimizer, model, end=20, every=2, fraction=0.5)
        for step in range(1, 9):
            optimizer.zero_grad()
            torch.manual_seed(step)
            inputs = torch.randn(8, 6, dtype=torch.float64)[rank::2]
            model(inputs).square().mean().backward()
            optimizer.step()
            rewire(step)
            held.verify()
        return {
            "mask": {name: kept.flatten().nonzero().flatten().tolist() for name, kept in held.mask.items()},
            "weights": [value.detach().flatten().tolist() for value in inner.parameters()],
            "moved": held.mask.distance(mask),
        }


if __name__ == "__main__":
    rank, meeting_point = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2)
    seen = {make.__name__: observe(make, rank) for make in (rigl, evolutionary, sparse_momentum)}
    distributed.destroy_process_group()
    print(json.dumps(seen))
