"""Layers of other sizes: a layer is given smaller tensors, and a whole network those of a smaller one."""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from prunus.tree import check_names, unwrapped, zipped


@torch.no_grad()
def shrink_to_fit(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of `model` with the sizes and values of `tensors`: the `state_dict` of what `shrink` made of its like.

    Raises `PrunusError` for names that differ, for larger shapes, and for others in anything but Linear, Conv2d and
    BatchNorm.

    >>> small = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    >>> shrink_to_fit(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), small.state_dict())[0]
    Linear(in_features=3, out_features=5, bias=True)
    """
    smaller = deepcopy(unwrapped(model))
    check_names(tensors, smaller.state_dict())
    for path, module in smaller.named_modules():
        own = own_tensors(module)
        given = {name: tensors[f"{path}.{name}".removeprefix(".")] for name in own}
        if _can_be_cut(module) and _are_cut(given, own):
            resize(module, {name: tensor.to(own[name]) for name, tensor in given.items()})
    for _ in zipped(tensors, smaller.state_dict()):  # the rest has to fit as it is
        pass
    smaller.load_state_dict(dict(tensors))
    return smaller


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of `module` itself that have a size: all but BatchNorm's count of batches."""
    named = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return {name: tensor.detach() for name, tensor in named if tensor.ndim}


def is_depthwise(module: nn.Conv2d) -> bool:
    """Whether each channel is made of the one at its place alone."""
    return module.groups == module.in_channels == module.out_channels


def resize(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give the Linear, Conv2d or BatchNorm `module` these `tensors`, and the sizes that go with them.

    A convolution in groups must be depthwise.
    """
    for name, tensor in tensors.items():
        own = getattr(module, name)
        channels_last = own.ndim == 4 and own.is_contiguous(memory_format=torch.channels_last)
        value = tensor.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        setattr(module, name, nn.Parameter(value, own.requires_grad) if isinstance(own, nn.Parameter) else value)
        if isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
        elif isinstance(module, nn.Conv2d):
            module.out_channels, module.in_channels = module.weight.shape[:2]
            if module.groups > 1:
                module.in_channels = module.groups = module.out_channels
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.num_features = len(value)


def _can_be_cut(module: nn.Module) -> bool:
    if type(module) is nn.Conv2d:
        return module.groups == 1 or is_depthwise(module)
    return type(module) in (nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)


def _are_cut(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    """Whether the layer with tensors `own` becomes the one with tensors `given` by losing channels."""
    fitting = len({len(tensor) for tensor in given.values()}) == 1 and all(
        tensor.ndim == own[name].ndim
        and tensor.shape[2:] == own[name].shape[2:]
        and all(size <= before for size, before in zip(tensor.shape, own[name].shape, strict=True))
        for name, tensor in given.items()
    )
    return fitting and any(tensor.shape != own[name].shape for name, tensor in given.items())
