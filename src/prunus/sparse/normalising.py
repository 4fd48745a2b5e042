"""BatchNorm between sparse layers: for it, lanes are as good as pixels, if all of them count."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import BatchNorm1d, BatchNorm2d

from prunus.kernel import batch_norm_on_lanes
from prunus.kernel.vectors import LANES
from prunus.sparse.chain import Chain


class _OnLanes(nn.Module):
    chain: Chain

    def forward(self: Any, lanes: Tensor) -> Any:
        """Of lanes, lanes, and of what stayed a batch, a batch; through the batch where its last tile is not full."""
        if lanes.ndim == 2:
            return super().forward(lanes)
        if not self.chain.is_full:
            return self.chain.to_lanes(super().forward(self.chain.from_lanes(lanes)))
        tensors = (lanes, *self.parameters())
        has_kernels = all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
        if self.training and has_kernels and not torch.compiler.is_compiling():
            outputs, mean, variance = batch_norm_on_lanes(lanes, self.weight, self.bias, self.eps)
            _follow(self, mean, variance, lanes.numel() // self.num_features)
            return outputs
        if lanes.ndim == 3:
            return super().forward(lanes)
        return super().forward(lanes.flatten(-2)).unflatten(-1, (-1, LANES))


class LanesBatchNorm1d(_OnLanes, BatchNorm1d):
    """BatchNorm1d of lanes (tiles, features, 16)."""


class LanesBatchNorm2d(_OnLanes, BatchNorm2d):
    """BatchNorm2d of lanes (tiles, channels, height, width, 16)."""


ON_LANES: dict[type[nn.Module], type[nn.Module]] = {BatchNorm1d: LanesBatchNorm1d, BatchNorm2d: LanesBatchNorm2d}


def normalise_lanes(module: Any, chain: Chain) -> None:
    """Let a BatchNorm of `ON_LANES` take lanes and give lanes: its parameters and statistics stay where they are."""
    module.__class__, module.chain = ON_LANES[type(module)], chain


def normalise_batches(module: Any) -> None:
    """Undo `normalise_lanes`."""
    for plain, on_lanes in ON_LANES.items():
        if type(module) is on_lanes:
            del module.chain
            module.__class__ = plain


@torch.no_grad()
def _follow(module: Any, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update running statistics as torch does: with the variance of a sample."""
    if module.track_running_stats:
        module.num_batches_tracked.add_(1)
        factor = 1 / float(module.num_batches_tracked) if module.momentum is None else module.momentum
        module.running_mean.lerp_(mean, factor)
        module.running_var.lerp_(variance * (count / (count - 1)), factor)
