"""How the loss bends: second derivatives of it, measured over batches."""

from prunus.curvature.products import hessian_vector_product, hutchinson_diagonals
from prunus.curvature.samples import LARGEST, curvature_factors, inverse_hessian, squared_gradients
from prunus.curvature.sweep import hessian_diagonals

__all__ = [
    "LARGEST",
    "curvature_factors",
    "hessian_diagonals",
    "hessian_vector_product",
    "hutchinson_diagonals",
    "inverse_hessian",
    "squared_gradients",
]
