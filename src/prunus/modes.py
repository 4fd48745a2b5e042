"""Training mode or evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """`model` in training or evaluation mode; afterwards every module is in its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, before in modes:
            module.training = before


@contextmanager
def by_batch(model: nn.Module) -> Iterator[None]:
    """`model` in evaluation mode, but BatchNorm without statistics yet normalises by the batch, as in training.

    Before training, running means are 0 and variances 1, which would leave inputs as they are: that would be another
    network than the one that is trained. Afterwards every module is as it was, statistics too.
    """
    with mode(model, training=False):
        fresh = [module for module in model.modules() if isinstance(module, _BatchNorm) and _is_fresh(module)]
        for layer in fresh:
            layer.training, layer.track_running_stats = True, False
        try:
            yield
        finally:
            for layer in fresh:
                layer.track_running_stats = True


def _is_fresh(layer: _BatchNorm) -> bool:
    means, variances = layer.running_mean, layer.running_var
    return means is not None and variances is not None and not means.any() and bool((variances == 1).all())
