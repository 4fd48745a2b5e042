"""Which weights make a channel and which read it, so that whole channels can be chosen."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Size, Tensor, nn

from prunus.mask import Mask
from prunus.pattern import channel
from prunus.shrinking.network import copied
from prunus.shrinking.reading import Reading
from prunus.tree import check_names, unwrapped, weights


@dataclass(frozen=True)
class Wiring:
    """The channels of a network by number: equal numbers are one channel, which lives or dies as a whole.

    `outputs` has the numbers (out,) of what each Linear and Conv2d weight makes, `inputs` those (in,) of what it reads,
    by parameter name, in the order in which the network uses them; depthwise convolutions, which read what they make,
    are at the end of `outputs` alone. A number is negative where the channel must stay: the network's inputs and
    outputs, and what is joined to them or to padding. Channels that an addition joins have one number, and so have
    the places of a feature map behind `flatten`.
    """

    outputs: dict[str, Tensor]
    inputs: dict[str, Tensor]


@torch.no_grad()
def wiring(model: nn.Module, *, example: Tensor) -> Wiring:
    """The channels of `model`, found by running a copy on `example` (batch, channels, ...).

    For whole channels to be pruned together: `scope=together(wiring(model, example=x).outputs)` with the pattern
    `channel(0)`, or `.inputs` with `channel(1)`. Raises `PrunusError` naming the first operator that it cannot follow.

    >>> found = wiring(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)), example=torch.zeros(1, 3))
    >>> {name: numbers.tolist() for name, numbers in found.outputs.items()}
    {'0.weight': [3, 4], '2.weight': [-1]}
    >>> {name: numbers.tolist() for name, numbers in found.inputs.items()}
    {'0.weight': [-1, -1, -1], '2.weight': [3, 4]}
    """
    network = copied(unwrapped(model)).cpu().eval()
    reading = Reading(network)
    reading.run(example.detach().cpu().clone())
    groups = reading.channels.groups()
    numbers = groups.where(~torch.isin(groups, groups[reading.channels.pinned]), -1)
    names = {id(weight): name for name, weight in weights(network).items()}
    made = {names[id(part.module.weight)]: part.outputs for part in reading.layers}
    alone = {names[id(part.module.weight)]: part.channels for part in reading.depthwise}
    read = {names[id(part.module.weight)]: part.inputs.channels for part in reading.layers}
    return Wiring(
        {name: numbers[channels] for name, channels in (made | alone).items()},
        {name: numbers[channels] for name, channels in read.items()},
    )


def spread(mask: Mask, channels: Wiring) -> Mask:
    """`mask` on all that belongs to a channel of which it prunes everything that makes it, or everything that reads it.

    So filters pruned whole take along their feature maps, whatever constant their biases and BatchNorm would give, and
    maps that nothing reads take along their filters: `shrink` removes all that, and the density of the mask is that of
    what is left. Source: Li et al. 2017, "Pruning filters for efficient ConvNets", section 3.1.

    Raises `PrunusError` unless `mask` has the weights of the network that `channels` are of.
    """
    check_names(mask, channels.outputs)
    gone = torch.cat([_unmade(mask, channels), _unread(mask, channels)])
    return mask & Mask({name: without(name, kept.shape, channels, gone).to(kept.device) for name, kept in mask.items()})


def alone(channels: Wiring) -> Wiring:
    """`channels`, of which only those may go that one layer alone reads: in residual networks, those inside of blocks.

    Layers are those all of whose channels that may go no other layer reads.

    >>> first, second = torch.tensor([0]), torch.tensor([1])
    >>> found = Wiring({"a": torch.tensor([0, 1])}, {"b": first, "c": second, "d": second})
    >>> alone(found).outputs["a"].tolist()
    [0, -1]
    """
    readers = Counter(number for numbers in channels.inputs.values() for number in numbers.unique().tolist())
    read = [
        number
        for numbers in channels.inputs.values()
        if all(readers[number] == 1 for number in numbers[numbers >= 0].tolist())
        for number in numbers[numbers >= 0].tolist()
    ]

    def restricted(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: numbers.where(torch.isin(numbers, torch.tensor(read)), -1) for name, numbers in found.items()}

    return Wiring(restricted(channels.outputs), restricted(channels.inputs))


def without(name: str, shape: Size, channels: Wiring, gone: Tensor) -> Tensor:
    """Which entries of the weight `name` of `shape` neither make nor read a channel of the numbers `gone`; bool."""
    made: Tensor = ~torch.isin(channels.outputs[name], gone)
    kept = channel(0).entries(made, shape)
    if name in channels.inputs:
        read: Tensor = ~torch.isin(channels.inputs[name], gone)
        kept = kept & channel(1).entries(read, shape)
    return kept


def _unmade(mask: Mask, channels: Wiring) -> Tensor:
    """The numbers of the channels of which `mask` prunes everything that makes them, depthwise kernels aside."""
    made = {name: channels.outputs[name] for name in channels.inputs}
    return _numbers_without(made, {name: mask[name].flatten(1).any(1) for name in made})


def _unread(mask: Mask, channels: Wiring) -> Tensor:
    """The numbers of the channels of which `mask` prunes everything that reads them."""
    return _numbers_without(
        channels.inputs, {name: mask[name].transpose(0, 1).flatten(1).any(1) for name in channels.inputs}
    )


def _numbers_without(numbers: Mapping[str, Tensor], alive: Mapping[str, Tensor]) -> Tensor:
    """Of these numbers, none negative, those that have no place that is `alive`."""
    living = torch.cat([own[alive[name].cpu()] for name, own in numbers.items()])
    all_ = torch.cat(list(numbers.values())).unique()
    left: Tensor = all_[(all_ >= 0) & ~torch.isin(all_, living)]
    return left
