"""A fully connected network from nothing but its weights."""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from prunus.errors import PrunusError


def fully_connected(tensors: Mapping[str, Tensor]) -> nn.Sequential:
    """The ReLU network with these weights, 'NAME.weight' (out, in) and perhaps 'NAME.bias', in the order of names.

    Numbers in names count as numbers. Raises `PrunusError` for other tensors, and for sizes that do not follow on each
    other.

    >>> fully_connected(nn.ModuleDict({"fc1": nn.Linear(3, 5), "fc2": nn.Linear(5, 2, bias=False)}).state_dict())
    Sequential(
      (0): Flatten(start_dim=1, end_dim=-1)
      (1): Linear(in_features=3, out_features=5, bias=True)
      (2): ReLU()
      (3): Linear(in_features=5, out_features=2, bias=False)
    )
    """
    matrices = {name: tensor for name, tensor in tensors.items() if name.endswith("weight") and tensor.ndim == 2}
    names = sorted(matrices, key=lambda name: [(len(part), part) for part in re.split(r"(\d+)", name)])
    biases = {name: tensors[bias] for name in names if (bias := name.removesuffix("weight") + "bias") in tensors}
    others = [name for name in tensors if name not in names and name.removesuffix("bias") + "weight" not in biases]
    if others or not names:
        raise PrunusError(
            f"no fully connected network is seen in {', '.join(others[:3]) or 'no weights'}: give the model."
        )
    modules: list[nn.Module] = [nn.Flatten()]
    for name in names:
        outputs, inputs = matrices[name].shape
        if len(modules) > 1:
            modules.append(nn.ReLU())
            before = matrices[names[names.index(name) - 1]].shape[0]
            if before != inputs:
                raise PrunusError(f"{name} reads {inputs} units, the layer before it has {before}: give the model.")
        layer = nn.Linear(inputs, outputs, bias=name in biases, device="meta")
        layer.weight = nn.Parameter(matrices[name].float())
        if name in biases:
            if biases[name].shape != (outputs,):
                raise PrunusError(f"the biases of {name} are {tuple(biases[name].shape)}, expected ({outputs},).")
            layer.bias = nn.Parameter(biases[name].float())
        modules.append(layer)
    return nn.Sequential(*modules)
