"""How weights start: pass one of these to `Module.apply`."""

from torch import nn


def glorot(module: nn.Module) -> None:
    """Normal weights of variance 2 / (fan in + fan out), zero biases (Glorot & Bengio 2010, equation 12)."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_normal_(module.weight)
        _zero_bias(module)


def he(module: nn.Module) -> None:
    """Normal weights of variance 2 / fan in, zero biases (He et al. 2015, equation 10)."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
        _zero_bias(module)


def _zero_bias(module: nn.Linear | nn.Conv2d) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)


STARTS = {"glorot": glorot, "he": he}
"""Starts by the names that experiments give them."""
