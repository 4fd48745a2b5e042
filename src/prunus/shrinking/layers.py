"""Layers as a network uses them, between the channels that they read and those that they make; cut to size in place."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunus.shrinking.channels import Signal
from prunus.shrinking.resizing import own_tensors, resize


class Layer:
    """A Linear or Conv2d `module` that reads `inputs` and makes the channels `outputs` (out,)."""

    def __init__(self, module: nn.Linear | nn.Conv2d, inputs: Signal, outputs: Tensor) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.follower: Normalisation | None = None  # its mean takes the constants that there is no bias for
        self.module = module
        self._windows = module.weight.detach().reshape(len(outputs), len(inputs.channels), -1)
        self._nonzero = (self._windows != 0).any(2)  # (out, in)
        # A window that reaches over the edge sees zeros there, so that only zero is the same to all windows.
        constants = inputs.constants
        self._constant = constants == 0 if _pads_zeros(module) else constants.isfinite()  # (in,)

    def constants(self) -> Tensor:
        """The values (out,) of those outputs that read nothing but constants, NaN for the others."""
        values = self._share_of(self._constant)
        if self.module.bias is not None:
            values = values + self.module.bias.detach().double()
        return values.where(~(self._nonzero & ~self._constant).any(1), torch.nan)

    def reads(self, rows: Tensor) -> Tensor:
        """Which inputs (in,) the outputs `rows` (out,) cannot do without: neither unread nor constants to fold."""
        has_place = self.module.bias is not None or self.follower is not None
        foldable = self._constant if has_place else self._constant & (self.inputs.constants == 0)
        return self._nonzero[rows].any(0) & ~foldable

    def cheapest(self) -> int:
        """The output that reads the fewest inputs."""
        return int(self._nonzero.sum(1).argmin())

    def cut(self, rows: Tensor, columns: Tensor) -> None:
        """Leave the module its outputs `rows` (out,) and inputs `columns` (in,).

        The share of constants that it no longer reads goes into the bias or, where there is none, into the mean that
        the follower takes off; so cut the follower afterwards.
        """
        if rows.all() and columns.all():
            return
        weight, bias = self.module.weight.detach(), self.module.bias
        tensors = {"weight": weight[rows][:, columns]}
        folded = self._share_of(self._constant & ~columns)
        if bias is not None:
            tensors["bias"] = (bias.detach().double() + folded)[rows].to(bias)
        elif self.follower is not None:
            self.follower.shift(-folded)
        resize(self.module, tensors)

    def _share_of(self, inputs: Tensor) -> Tensor:
        """What the constants at `inputs` (in,) add to each output (out,)."""
        return self._windows[:, inputs].double().sum(2) @ self.inputs.constants[inputs]


@dataclass(frozen=True)
class Normalisation:
    """A BatchNorm `module` over `channels` (count,)."""

    module: nn.BatchNorm1d | nn.BatchNorm2d
    channels: Tensor

    def constants(self, inputs: Tensor) -> Tensor:
        """The values (count,) of channels that read the constants `inputs` (count,), in evaluation mode; NaN stays.

        A channel with a scale of zero gives its bias, whatever it reads.
        """
        module, ones = self.module, torch.ones_like(inputs)
        scale = ones if module.weight is None else module.weight.detach().double()
        shift = 0 * ones if module.bias is None else module.bias.detach().double()
        if module.running_mean is None or module.running_var is None:  # so a constant is its batch's mean
            centred = inputs - inputs
        else:
            centred = (inputs - module.running_mean.double()) / (module.running_var.double() + module.eps).sqrt()
        return torch.where(scale == 0, shift, scale * centred + shift)

    def shift(self, difference: Tensor) -> None:
        """Add `difference` (count,) to the running mean."""
        mean = self.module.get_buffer("running_mean")
        mean += difference.to(mean)

    def cut(self, kept: Tensor) -> None:
        """Leave the module its channels `kept` (count,)."""
        if not kept.all():
            resize(self.module, {name: tensor[kept] for name, tensor in own_tensors(self.module).items()})


@dataclass(frozen=True)
class Depthwise:
    """A Conv2d `module` that makes each of `channels` (count,) out of that channel alone."""

    module: nn.Conv2d
    channels: Tensor

    def constants(self, inputs: Tensor) -> Tensor:
        """The values (count,) of channels that read the constants `inputs` (count,), NaN for those that vary."""
        kernels = self.module.weight.detach().double().flatten(1)  # (count, places)
        known = inputs == 0 if _pads_zeros(self.module) else inputs.isfinite()
        values = kernels.sum(1) * inputs.where(known, 0)
        if self.module.bias is not None:
            values = values + self.module.bias.detach().double()
        return values.where(known | ~(kernels != 0).any(1), torch.nan)

    def cut(self, kept: Tensor) -> None:
        """Leave the module its channels `kept` (count,)."""
        if not kept.all():
            resize(self.module, {name: tensor[kept] for name, tensor in own_tensors(self.module).items()})


def _pads_zeros(module: nn.Linear | nn.Conv2d) -> bool:
    if isinstance(module, nn.Linear) or module.padding_mode != "zeros" or module.padding == "valid":
        return False
    if module.padding == "same":
        return any(size > 1 for size in module.kernel_size)
    return any(module.padding)
