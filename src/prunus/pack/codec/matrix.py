"""Arrays of any shape seen as a matrix: the first axis down, all others across."""

from prunus.code.bits import Unsigned


def as_matrix(array: Unsigned) -> Unsigned:
    """(a, b, c, ...) as (a, b * c * ...), but a single row, a vector or a number as one column."""
    single = array.ndim < 2 or array.shape[0] == 1
    return array.reshape(-1, 1) if single else array.reshape(array.shape[0], -1)
