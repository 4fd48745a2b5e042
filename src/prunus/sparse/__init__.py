"""Networks whose pruned weights are not there: layers of kept values alone, where that is faster."""

from prunus.sparse.compressed import CompressedLinear
from prunus.sparse.holding import SparseHold, hold_sparse
from prunus.sparse.layers import SparseConv2d, SparseLinear
from prunus.sparse.network import Sparsified, sparsify
from prunus.sparse.semi_structured import to_semi_structured
from prunus.sparse.swapping import densify

__all__ = [
    "CompressedLinear",
    "SparseConv2d",
    "SparseHold",
    "SparseLinear",
    "Sparsified",
    "densify",
    "hold_sparse",
    "sparsify",
    "to_semi_structured",
]
