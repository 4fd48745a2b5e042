"""The linear structure of Pensia et al. 2020, section 5: every input n times, a random weight for each copy."""

from torch import Tensor

from prunus.construction.layer import Draw, Layer, Pick, Replacement
from prunus.construction.parts import Repeat


def linear(layer: Layer, items: int, nonnegative: bool, draw: Draw, pick: Pick) -> Replacement:
    """Every weight of `layer` is a sum of some of `items` random weights of its own."""
    outputs, inputs, *size = layer.kernel.shape
    return _linear(layer, items, draw((outputs, inputs * items, *size)), pick)


def linear_by_row(layer: Layer, items: int, nonnegative: bool, draw: Draw, pick: Pick) -> Replacement:
    """All weights of an output share one vector of `items` random weights, as in the paper's released experiment."""
    outputs, inputs, *size = layer.kernel.shape
    vectors = draw((outputs, items, 1, 1)).repeat(1, inputs, *size)
    return _linear(layer, items, vectors, pick)


def _linear(layer: Layer, items: int, weights: Tensor, pick: Pick) -> Replacement:
    _, inputs, height, width = layer.kernel.shape
    offered = weights.unflatten(1, (inputs, items)).movedim(2, -1)  # (out, in, height, width, n)
    rows = offered.reshape(-1, items)
    kept = pick(layer.kernel.flatten(), (rows,)).reshape(offered.shape)
    taken = kept * offered.double()
    return Replacement(
        [*layer.prepared(), Repeat(items), layer.random(weights, layer.stride)],
        [kept.movedim(-1, 2).reshape(weights.shape)],
        (taken.sum(-1) - layer.kernel.double())[None],
        taken.abs().sum(-1),
        terms=inputs * items * height * width,
    )
