"""The layer that a weight is of."""

from torch import nn

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
