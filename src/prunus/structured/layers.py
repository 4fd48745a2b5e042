"""The layer that a weight is of, and what its filters see."""

import torch.nn.functional as F
from torch import Tensor, nn

from prunus.errors import PrunusError
from prunus.tree import parameters


def layer_of(network: nn.Module, name: str) -> nn.Linear | nn.Conv2d:
    """The layer of the weight `name`; raises `PrunusError` for anything but Linear and Conv2d without groups."""
    if name not in parameters(network):
        raise PrunusError(f"{name} is not a parameter of {type(network).__name__}.")
    layer = network.get_submodule(name.rpartition(".")[0])
    if type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.groups == 1):
        return layer
    raise PrunusError(f"{name} is of {type(layer).__name__}, expected Linear or Conv2d without groups.")


def patches(layer: nn.Linear | nn.Conv2d, inputs: Tensor) -> Tensor:
    """What the filters of `layer` are multiplied with, (rows, in x places): `inputs`, or windows of them."""
    if isinstance(layer, nn.Linear):
        return inputs.flatten(0, -2)
    around = layer._reversed_padding_repeated_twice
    padded = F.pad(inputs, around, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    windows = F.unfold(padded, layer.kernel_size, layer.dilation, stride=layer.stride)
    return windows.transpose(1, 2).flatten(0, 1)  # windows are (batch, in x places, positions)
