"""Gradients that pass through a step or a rounding as if it were not there."""

from typing import Any

import torch
from torch import Tensor


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: Tensor, trained: Tensor) -> Tensor:
        return value.to(trained.dtype)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def through(value: Tensor, trained: Tensor) -> Tensor:
    """`value`, to the bit, a mask as 0 and 1; its gradient goes to `trained`: straight through (Bengio et al. 2013).

    >>> trained = torch.tensor([0.3, -2.0], requires_grad=True)
    >>> (through(trained > 0, trained) * torch.tensor([5.0, 7.0])).sum().backward()
    >>> trained.grad
    tensor([5., 7.])
    """
    return _Through.apply(value, trained)  # type: ignore[no-any-return, no-untyped-call]
