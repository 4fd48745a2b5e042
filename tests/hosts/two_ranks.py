"""One of two processes that train together; prints what it saw as JSON. Run by test_data_parallel.py."""

import json
import sys

import torch
from torch import distributed, nn

from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.mask import Mask
from prunus.sparse import hold_sparse, network, sparsify

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-2),
    "adamw-fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
    "muon": lambda p: torch.optim.Muon([w for w in p if w.ndim == 2], lr=0.01),
}


def of_rank(rank, mask):
    """Another mask on every process."""
    generator = torch.Generator().manual_seed(rank)
    return Mask({name: torch.rand(kept.shape, generator=generator) < 0.4 for name, kept in mask.items()})


def train(model, optimizer, rank):
    for step in range(4):
        optimizer.zero_grad()
        torch.manual_seed(10 * step + rank)
        if step == 1:  # accumulate without averaging first
            with model.no_sync():
                model(torch.randn(8, 5)).square().mean().backward()
        model(torch.randn(8, 5)).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()


def drift(tensors):
    """The largest difference between the two processes' values."""
    mine = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    both = [torch.empty_like(mine) for _ in range(2)]
    distributed.all_gather(both, mine)
    return float((both[0] - both[1]).abs().max())


def observe_sparse(rank):
    """Networks made sparse where each process finds other layers faster, and is given other masks."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    network.fastest = lambda model, layers, example: ({name: layers[name] for name in [("0",), ("2",)][rank]}, {})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    held = hold_sparse(optimizer, model, of_rank(rank, Mask.dense(model)), example=torch.ones(1))
    held.update(of_rank(rank + 4, held.mask))
    seen = {"mask": held.mask == of_rank(4, held.mask), "layers": [type(one).__name__ for one in model]}
    held.release()
    sparsify(model, of_rank(0, held.mask), example=torch.ones(1), optimizer=optimizer)
    wrapped = nn.parallel.DistributedDataParallel(model)
    train(wrapped, optimizer, rank)
    seen |= {"drift": drift(list(model.parameters())), "trained": bool(model[0].values.grad.any())}
    for change in (lambda: sparsify(wrapped, Mask({})), lambda: hold_sparse(optimizer, wrapped, Mask({}))):
        try:
            change()
        except PrunusError as error:
            seen["refused"] = str(error)
    return seen


def observe(make_optimizer, rank):
    torch.manual_seed(rank)
    inner = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    model = nn.parallel.DistributedDataParallel(inner)
    optimizer = make_optimizer(list(model.parameters()))
    train(model, optimizer, rank)
    same_mask, leak, state = [], 0.0, 0.0
    with hold(optimizer, model, of_rank(rank, Mask.dense(model))) as held:
        for level in (0, 2):
            if level:
                held.update(of_rank(rank + level, held.mask))
            same_mask.append(held.mask == of_rank(level, held.mask))
            train(model, optimizer, rank)
            held.verify()
            for name, kept in held.mask.items():
                weight = inner.get_parameter(name)
                leak = max(leak, float(weight.detach()[~kept].abs().max()))
                for entry in optimizer.state[weight].values():
                    if entry.shape == weight.shape:
                        state = max(state, float(entry[~kept].abs().max()))
    inferred = Mask.of_nonzero(model)
    with hold(optimizer, model, inferred) as held:  # fine-tuning takes the mask from the zeros
        train(model, optimizer, rank)
        held.verify()
    return {
        "mask of the first": same_mask,
        "leak": leak,
        "state": state,
        "drift": drift(list(inner.parameters())),
        "density": inferred.density,
    }


if __name__ == "__main__":
    rank, meeting_point = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2)
    seen = {name: observe(make, rank) for name, make in OPTIMIZERS.items()}
    seen["sparse"] = observe_sparse(rank)
    distributed.destroy_process_group()
    print(json.dumps(seen))
