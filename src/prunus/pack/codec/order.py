"""One-to-one changes of bit patterns after which values that are close are close as unsigned integers."""

import numpy as np
from numpy.typing import NDArray

from prunus.code.bits import Unsigned

AS_IT_IS, SIGN_LAST, FLOAT, SIGNED = range(4)
CHUNK = 1 << 16


def change(values: Unsigned, order: int) -> Unsigned:
    """`values` in one of four orders.

    SIGN_LAST: the top bit moved to the bottom, so that a float begins with its exponent. FLOAT: floats from
    the lowest to the highest. SIGNED: two's complement integers from the lowest to the highest.
    """
    top = values.dtype.type(8 * values.itemsize - 1)
    one = values.dtype.type(1)
    if order == SIGN_LAST:
        return (values << one) | (values >> top)
    if order == FLOAT:
        return np.where(values >> top, ~values, values ^ (one << top))
    return values ^ (one << top) if order == SIGNED else values


def planes(values: Unsigned) -> NDArray[np.uint8]:
    """The bytes of each of the flat `values`, (n, bytes), the highest first; shares their memory."""
    return values.view(np.uint8).reshape(values.size, values.itemsize)[:, ::-1]


def undo(values: Unsigned, order: int) -> None:
    """Undo `change`, in place and with little memory."""
    top = values.dtype.type(8 * values.itemsize - 1)
    one = values.dtype.type(1)
    for start in range(0, values.size if order else 0, CHUNK):
        part = values[start : start + CHUNK]
        if order == SIGN_LAST:
            part[:] = (part >> one) | (part << top)
        elif order == FLOAT:
            part[:] = np.where(part >> top, part ^ (one << top), ~part)
        else:
            part ^= one << top
