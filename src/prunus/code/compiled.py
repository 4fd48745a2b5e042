"""Compiling loops with numba, typed so that a strict type checker still sees the function."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """`function` as machine code, compiled at the first call and kept on disk, where it can be, for later ones."""
    return _compiled(function)


def compiled_finite(function: Function) -> Function:
    """The same for loops that never see NaN, which the compiler may reorder, and that run beside other threads."""
    return _compiled(function, nogil=True, fastmath={"nnan", "nsz"})


def _compiled(function: Function, **options: Any) -> Function:
    try:
        loop = numba.njit(cache=True, error_model="numpy", **options)(function)
    except RuntimeError:  # no folder to keep it in
        loop = numba.njit(error_model="numpy", **options)(function)
    return cast(Function, loop)
