"""Networks whose pruned weights are not there: layers of kept values alone, where that is faster."""

from prunus.sparse.compressed import CompressedLinear
from prunus.sparse.layers import SparseConv2d, SparseLinear
from prunus.sparse.network import Sparsified, sparsify
from prunus.sparse.semi_structured import to_semi_structured
from prunus.sparse.swapping import densify

__all__ = [
    "CompressedLinear",
    "SparseConv2d",
    "SparseLinear",
    "Sparsified",
    "densify",
    "sparsify",
    "to_semi_structured",
]
