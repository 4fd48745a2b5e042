"""An optimizer that goes on with other parameters: what it remembers of each entry goes where the entry goes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@torch.no_grad()
def hand_over(optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter, moved: Callable[[Tensor], Tensor]) -> None:
    """Let `optimizer` update `new` where it updated `old`; `moved` makes of a tensor like `old` one like `new`.

    Gradients that have come in go along. What is not shaped as `old`, such as a count of steps, is taken over as it is.
    """
    if old.grad is not None:
        new.grad = moved(old.grad)
    for group in optimizer.param_groups:
        group["params"] = [new if parameter is old else parameter for parameter in group["params"]]
    if old in optimizer.state:
        optimizer.state[new] = {
            key: moved(value) if isinstance(value, Tensor) and value.shape == old.shape else value
            for key, value in optimizer.state.pop(old).items()
        }
