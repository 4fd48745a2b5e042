"""A bound on how far the pruned random network can be from its target: the errors of the layers, carried through them.

A layer W becomes W x + E+ relu(x) - E- relu(-x), with the errors E+ and E- of the sums. As (relu(x), relu(-x)) is as
long as x, that differs from W x by at most |[E+ E-]| |x|, in spectral norms. With |f| for what the target has reached,
e for the distance so far, b and d for the biases and their errors, a layer makes of them

    e <- |W| e + |[E+ E-]| (|f| + e) + |d|,        |f| <- |W| |f| + |b|,

while ReLU and max pooling of windows that do not overlap lengthen no difference. To this are added what rounding can do
when both networks run in double precision, and a margin for the computed norms.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from prunus.construction.layer import Layer, Replacement

MARGIN = 1e-8
"""More than the relative error of a computed spectral norm: of up to 3e7 products in a Gram matrix, 1.1e-16 each."""

_ROUNDING = 2.0**-53


def certified_bound(steps: Sequence[nn.Module | tuple[Layer, Replacement]], places: Sequence[int]) -> float:
    """The largest Euclidean distance of the two outputs, both in double precision, on inputs of norm at most 1.

    `places` are the rows times columns of what each step gives.
    """
    distance, reached = 0.0, 1.0
    for step, count in zip(steps, places, strict=True):
        if not isinstance(step, tuple):
            continue
        layer, found = step
        weights, biases = _split(layer, layer.kernel.double()[None])
        errors, bias_errors = _split(layer, found.errors)
        sums, bias_sums = _split(layer, found.sums[None])
        biases, bias_errors, bias_sums = (math.sqrt(count) * norm for norm in (biases, bias_errors, bias_sums))
        rounded = 2 * _ROUNDING * (found.terms + 2) * (1 + MARGIN)  # twice: the errors were rounded too
        spread = _spread(weights[0], layer.stride)
        own = rounded * (spread * float(weights.norm()) * reached + biases)
        others = rounded * (spread * float(sums.norm()) * (reached + distance) + bias_sums)
        norm = operator_norm(weights[0], layer.stride)
        distance = (
            norm * distance
            + operator_norm(torch.cat(list(errors), 1), layer.stride) * (reached + distance)
            + (bias_errors + own + others)
        )
        reached = norm * reached + biases + own
    return distance * (1 + MARGIN)


def operator_norm(kernel: Tensor, stride: tuple[int, int] = (1, 1)) -> float:
    """At least the spectral norm of the convolution with `kernel` (out, in, height, width), on images of any size.

    The lesser of two bounds: the sum of the norms of the kernel's places, as to shift an image lengthens it not; and
    that of the kernel as a matrix (out, in * height * width) times the root of how many windows share a pixel. For
    kernels of one place both are the norm itself.
    """
    by_places = sum(_spectral(matrix) for matrix in kernel.flatten(2).unbind(2))
    return min(by_places, _spread(kernel, stride) * _spectral(kernel.flatten(1))) * (1 + MARGIN)


def _spread(kernel: Tensor, stride: tuple[int, int]) -> float:
    height, width = kernel.shape[2:]
    return math.sqrt(math.ceil(height / stride[0]) * math.ceil(width / stride[1]))


def _spectral(matrix: Tensor) -> float:
    """The largest singular value, of the smaller Gram matrix."""
    rows, columns = matrix.shape
    gram = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    return math.sqrt(max(float(torch.linalg.eigvalsh(gram)[-1]), 0.0))


def _split(layer: Layer, kernels: Tensor) -> tuple[Tensor, float]:
    """Of `kernels` (halves, out, in, height, width), those of the weights; and the norm of the biases, at one place."""
    if not layer.biased:
        return kernels, 0.0
    biases = kernels[0, :, -1].flatten(1).abs().sum(1)
    return kernels[:, :, :-1], float(biases.norm()) * (1 + MARGIN)
