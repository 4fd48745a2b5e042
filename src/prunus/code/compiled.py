"""Compiling loops with numba, typed so that a strict type checker still sees the function."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """`function` as machine code, compiled at the first call and kept on disk, where it can be, for later ones."""
    try:
        loop = numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # no folder to keep it in
        loop = numba.njit(error_model="numpy")(function)
    return cast(Function, loop)
