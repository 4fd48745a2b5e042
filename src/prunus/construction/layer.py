"""A layer of the target, and what stands for it in the random network."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import BoolTensor, Tensor, nn

from prunus.construction.choice import Factors
from prunus.construction.parts import One, Pad


@dataclass(frozen=True, eq=False)
class Layer:
    """A Linear or Conv2d as one kernel, biases as a further input channel that is always one.

    `kernel` is (out, in, height, width), of height and width 1 for Linear; the last of its input channels holds the
    biases in its first place, and zeros, if `biased`.
    """

    kernel: Tensor
    biased: bool
    is_linear: bool
    stride: tuple[int, int]
    padding: tuple[int, int]

    @classmethod
    def of(cls, module: nn.Linear | nn.Conv2d) -> "Layer":
        """The layer that `module` is."""
        is_linear = isinstance(module, nn.Linear)
        kernel = module.weight.detach().cpu()
        kernel = kernel.to(torch.promote_types(kernel.dtype, torch.float32))  # never narrower: the target is what it is
        kernel = (kernel[..., None, None] if is_linear else kernel).contiguous()
        if module.bias is not None:
            biases = torch.zeros_like(kernel[:, :1])
            biases[:, 0, 0, 0] = module.bias.detach()
            kernel = torch.cat([kernel, biases], 1)
        stride = (1, 1) if isinstance(module, nn.Linear) else (module.stride[0], module.stride[1])
        padding = (0, 0) if isinstance(module, nn.Linear) else (int(module.padding[0]), int(module.padding[1]))
        return cls(kernel, module.bias is not None, is_linear, stride, padding)

    @property
    def places(self) -> Tensor:
        """True where the kernel has a weight or a bias of the target, not a zero that was filled in."""
        places = torch.ones_like(self.kernel, dtype=torch.bool)
        if self.biased:
            places[:, -1] = False
            places[:, -1, 0, 0] = True
        return places

    def prepared(self) -> list[nn.Module]:
        """What comes before the random layers: zeros around the images, and the channel that is one."""
        pad = [Pad(*self.padding)] if any(self.padding) else []
        return [*pad, One()] if self.biased else [*pad]

    def random(self, kernel: Tensor, stride: tuple[int, int] = (1, 1)) -> nn.Linear | nn.Conv2d:
        """A module of this layer's kind with `kernel` (out, in, height, width) for weights, no padding and no bias."""
        outputs, inputs, height, width = kernel.shape
        made: nn.Linear | nn.Conv2d
        if self.is_linear:
            made = nn.Linear(inputs, outputs, bias=False, device="meta")
            made.weight = nn.Parameter(kernel[..., 0, 0])
        else:
            made = nn.Conv2d(inputs, outputs, (height, width), stride, bias=False, device="meta")
            made.weight = nn.Parameter(kernel)
        return made


@dataclass(frozen=True, eq=False)
class Replacement:
    """Random modules for a layer: of those with weights what stays, and how far the sums are from the kernel.

    `kept` are (out, in, height, width), also for Linear.
    `errors` is (1 or 2, out, in, height, width) float64: of what multiplies the positive parts of inputs, and of what
    multiplies the negative ones where it is another sum. `sums` are the sums of the absolute values of all that is
    added up, for the rounding.
    """

    modules: list[nn.Module]
    kept: list[Tensor]
    errors: Tensor
    sums: Tensor
    terms: int  # of the longest sum that the random layers take


Draw = Callable[[tuple[int, ...]], Tensor]
Pick = Callable[[Tensor, Factors], BoolTensor]  # a choice that knows its epsilon
Structure = Callable[[Layer, int, bool, Draw, Pick], Replacement]
"""`structure(layer, items, nonnegative, draw, pick)`: `nonnegative` tells that no input of the layer is below zero."""
