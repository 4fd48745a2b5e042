"""BatchNorm statistics that fit the weights: to be taken anew after every change of weights but training."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunus.errors import PrunusError
from prunus.modes import mode


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Estimate the running means and variances of `model` anew from inputs `batches`; how many were used.

    Each statistic becomes the plain average over the batches, whatever the layer's momentum. Everything but
    the statistics stays as it was, and all other layers work as in evaluation: dropout is off. A model
    without running statistics uses no batch. Raises `PrunusError` where there is no batch.

    >>> model = nn.Sequential(nn.BatchNorm1d(1))
    >>> recalibrate(model, [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [8.0]])])
    2
    >>> model[0].running_mean.item(), model[0].running_var.item()
    (3.5, 5.0)
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not layers:
        return 0
    momenta = [layer.momentum for layer in layers]
    used = 0
    try:
        with mode(model, training=False):
            for batch in batches:
                if used == 0:
                    for layer in layers:
                        layer.reset_running_stats()
                        layer.momentum = None  # a plain average
                        layer.training = True
                model(batch)
                used += 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    if used == 0:
        raise PrunusError("BatchNorm cannot be recalibrated without a batch of inputs, found none.")
    return used
