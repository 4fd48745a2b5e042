"""Training data that teaches nothing of the task: a control for what a method takes from the data.

Source: Su et al. 2020, "Sanity-checking pruning methods", section 3.1; Zhang et al. 2017.
"""

from dataclasses import replace

import torch
from torch import Generator

from prunus.data.dataset import Data, Split
from prunus.errors import unknown

CORRUPTIONS = ("labels", "pixels")


def corrupted(data: Data, what: str, *, seed: int = 0) -> Data:
    """`data` with the training part's labels dealt out at random, or each image's pixels in an order of its own.

    The share of each class, and the set of values of each image, stay; validation and test are untouched.
    """
    if what not in CORRUPTIONS:
        raise unknown("corruption", what, CORRUPTIONS)
    generator = Generator().manual_seed(seed)
    change = _with_labels_dealt if what == "labels" else _with_pixels_scrambled
    return replace(data, train=change(data.train, generator), fingerprint=f"{data.fingerprint}, {what} {seed}")


def _with_labels_dealt(split: Split, generator: Generator) -> Split:
    return replace(split, labels=split.labels[torch.randperm(len(split), generator=generator)])


def _with_pixels_scrambled(split: Split, generator: Generator) -> Split:
    flat = split.inputs.flatten(2)  # (N, C, H W)
    parts = []
    for part in flat.split(5000):
        order = torch.rand(len(part), 1, part.shape[2], generator=generator).argsort(2)  # the same in each channel
        parts.append(part.gather(2, order.expand_as(part)))
    return replace(split, inputs=torch.cat(parts).reshape(split.inputs.shape))
