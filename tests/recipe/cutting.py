"""What recipes make with pieces, made without them: networks cut by indexing, and trained by the loop alone."""

from pathlib import Path

import torch
from torch import Tensor, nn

from prunus.laboratory import Task
from prunus.mask import Mask
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot
from prunus.training import train

from .networks import Small

TASK = Task.of(f"{Path(__file__).with_name('networks.py')}:small", "digits", start="he")
DIGITS = TASK.read()
State = dict[str, Tensor]


def state(found: Snapshot) -> State:
    return {**found.weights, **found.buffers}


def cut(whole: State, first: list[int], second: list[int]) -> Small:
    """`Small` with these of its channels."""
    model = Small(len(first), len(second))
    parts = {"conv1.weight": whole["conv1.weight"][first], "conv2.weight": whole["conv2.weight"][second][:, first]}
    for name, value in whole.items():
        if name.startswith("norm"):
            kept = first if name.startswith("norm1") else second
            parts[name] = value[kept] if value.ndim else value
    model.load_state_dict({**parts, "fc.weight": whole["fc.weight"][:, second], "fc.bias": whole["fc.bias"]})
    return model


def places(mask: Mask) -> tuple[list[int], list[int]]:
    """The channels of `Small` that `mask` keeps."""
    first, second = (mask[f"{norm}.weight"].nonzero().flatten().tolist() for norm in ("norm1", "norm2"))
    return first, second


def parameters(first: int, second: int) -> int:
    return 9 * first + 2 * first + 9 * first * second + 2 * second + 10 * second + 10


def multiplications(first: int, second: int) -> int:
    """8x8 images: 64 places of the first, 16 of the second convolution."""
    return 64 * 9 * first + 16 * 9 * first * second + 10 * second


def trained(model: nn.Module, settings: Settings, seed: int, begin: int = 0) -> State:
    """The state of `model` after the training that is left."""
    optimizer = make_optimizer(model, settings)
    with torch.random.fork_rng():
        train(model, DIGITS, settings, seed=seed, optimizer=optimizer, begin=begin)
    return model.state_dict()


def same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Percent right on the test part, all at once."""
    model.eval()
    split = DIGITS.test()
    right = model(split.normalise(split.inputs)).argmax(1) == split.labels
    return 100 * right.double().mean().item()
