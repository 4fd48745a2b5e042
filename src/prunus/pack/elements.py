"""Tensors as arrays of unsigned integers: every bit counts, whatever it means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from prunus.code.bits import Unsigned
from prunus.errors import PrunusError


@dataclass(frozen=True)
class Element:
    """How the entries of a tensor are held: dtype, bytes of one integer, how many integers an entry takes.

    `narrow` is the shorter float that holds every value of the tensor exactly, where there is one.
    """

    dtype: str
    size: int
    parts: int = 1
    narrow: str = ""

    @property
    def stored(self) -> np.dtype[np.unsignedinteger]:
        """The integers that a codec sees."""
        return np.dtype(f"u{2 if self.narrow else self.size}")


ELEMENTS = (  # the position is the number in the file: only ever append
    Element("float32", 4),
    Element("float32", 4, narrow="bfloat16"),
    Element("float32", 4, narrow="float16"),
    Element("float16", 2),
    Element("bfloat16", 2),
    Element("float64", 8),
    Element("bool", 1),
    Element("uint8", 1),
    Element("int8", 1),
    Element("int16", 2),
    Element("int32", 4),
    Element("int64", 8),
    Element("uint16", 2),
    Element("uint32", 4),
    Element("uint64", 8),
    Element("complex64", 8),
    Element("complex128", 8, parts=2),
    Element("float8_e4m3fn", 1),
    Element("float8_e5m2", 1),
    Element("float8_e4m3fnuz", 1),
    Element("float8_e5m2fnuz", 1),
    Element("float8_e8m0fnu", 1),
    Element("complex32", 4),
)
SIGNED = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def to_integers(name: str, tensor: torch.Tensor) -> tuple[Element, Unsigned, Unsigned]:
    """The element of `tensor`, its integers as stored (perhaps narrow) and its own; both flat, in C order."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    element = next((e for e in ELEMENTS if e.dtype == dtype), None)
    if element is None or tensor.layout is not torch.strided or tensor.is_meta:
        raise PrunusError(f"{name}: {tensor.layout} tensors of {dtype} on {tensor.device} cannot be packed.")
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    exact = flat.view(SIGNED[element.size]).numpy().view(f"u{element.size}")
    if dtype == "float32":
        for candidate in ELEMENTS[1:3]:
            narrow = _narrowed(exact, candidate.narrow)
            if narrow is not None:
                return candidate, narrow, exact
    return element, exact, exact


def dtype_of(element: Element) -> torch.dtype:
    """The dtype of tensors of that element."""
    dtype = getattr(torch, element.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise PrunusError(f"this version of torch has no {element.dtype}.")
    return dtype


def to_tensor(element: Element, exact: Unsigned, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor whose entries are the integers `exact`; it takes over their memory."""
    dtype = dtype_of(element)
    if not exact.size:
        return torch.empty(shape, dtype=dtype)
    integers = exact.view(f"i{element.size}") if element.size > 1 else exact
    return torch.from_numpy(integers).view(dtype).reshape(shape)


def widen(element: Element, stored: Unsigned) -> Unsigned:
    """The tensor's own integers, from those that were stored."""
    if element.narrow == "bfloat16":
        wide = stored.astype(np.uint32)
        wide <<= np.uint32(16)
        return wide
    if element.narrow == "float16":
        return _half_to_single()[stored]
    return stored


@cache
def _half_to_single() -> NDArray[np.uint32]:
    """The float32 pattern of every float16 pattern; in integers, so NaN payloads are the same everywhere."""
    half = np.arange(1 << 16, dtype=np.int64)
    sign, exponent, fraction = half >> 15 << 31, half >> 10 & 31, half & 1023
    leading = np.frexp(fraction.astype(np.float64))[1].astype(np.int64)  # bits of a subnormal's fraction
    subnormal = np.where(fraction > 0, (leading + 102) << 23 | (fraction << (24 - leading) & 0x7FFFFF), 0)
    normal = np.where(exponent == 31, 255, exponent + 112) << 23 | fraction << 13
    return (sign | np.where(exponent == 0, subnormal, normal)).astype(np.uint32)


@cache
def _half_order() -> NDArray[np.int64]:
    return np.argsort(_half_to_single())


def _narrowed(exact: Unsigned, narrow: str) -> Unsigned | None:
    """The patterns of the narrow float that widen to `exact`, if all do."""
    if narrow == "bfloat16":
        return None if (exact & 0xFFFF).any() else (exact >> 16).astype(np.uint16)
    if (exact & 0x1FFF).any():
        return None
    single, order = _half_to_single(), _half_order()
    found = order[np.searchsorted(single, exact, sorter=order).clip(max=order.size - 1)]
    return found.astype(np.uint16) if (single[found] == exact).all() else None
