"""The codec of networks that were drawn and never trained: a seed in place of values, and which of them live."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from types import MappingProxyType
from typing import Self

import numpy as np
import torch

from prunus import draws
from prunus.code.bits import Bytes, Unsigned
from prunus.errors import FormatError, PrunusError, unknown
from prunus.pack.codec.mixed import Mixed
from prunus.pack.codec.ranged import Ranged
from prunus.pack.syntax import Source, varint

KINDS = ("signed-constant", "uniform")  # the position is the number in the file: only ever append
INNER: Mapping[int, Mixed | Ranged] = MappingProxyType({codec.id: codec for codec in (Ranged(), Mixed())})
CHUNK = 1 << 16
LEAST, MOST = 2.0**-100, 2.0**100  # no value is subnormal, which some machines would take as zero, or infinite


@dataclass(frozen=True)
class Drawn:
    """How a tensor was drawn, entry by entry, from the words of a (seed, stream) of `prunus.draws`.

    `kind`: "signed-constant", +`scale` or -`scale`; or "uniform", from [-`scale`, `scale`], with the signs that the
    signed constant of the same seed and stream has. Both seed and stream are below 2**63.

    As a codec it codes an array in which the pattern 1 and the drawn value of each entry have changed places: of a
    network that was drawn and masked, zeros and ones are left. `inner` codes those. Any other array comes back too.

    >>> Drawn(seed=7, scale=0.5).values((2, 3))
    tensor([[ 0.5000, -0.5000, -0.5000],
            [ 0.5000,  0.5000,  0.5000]])
    """

    kind: str = "signed-constant"
    seed: int = 0
    stream: int = 0
    scale: float = 1.0
    inner: Mixed | Ranged = field(default=INNER[5], repr=False, compare=False)

    id = 6
    name = "drawn"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("kind of draws", self.kind, KINDS)
        for name in ("seed", "stream"):
            if not 0 <= getattr(self, name) < 1 << 63:
                raise PrunusError(f"a {name} must be at least 0 and below 2**63, found {getattr(self, name)}.")
        if not LEAST <= self.scale <= MOST:
            raise PrunusError(f"a scale must be from 2**-100 to 2**100, found {self.scale}.")

    def values(self, shape: tuple[int, ...], *, first: int = 0) -> torch.Tensor:  # float32
        """The values of all entries, or of a stretch of them from entry `first` on."""
        if self.kind == "uniform":
            return draws.uniform(self.seed, self.stream, shape, self.scale, -self.scale, first=first)
        return draws.signs(self.seed, self.stream, shape, first=first) * float(np.float32(self.scale))

    def faster(self) -> Self:
        """The same draws, with the quick codec inside."""
        return replace(self, inner=INNER[4])

    def explains(self, array: Unsigned) -> bool:
        """Whether every entry is zero or as it was drawn."""
        left = array.copy(order="C")
        self._change_places(left)
        return bool((left <= 1).all())

    def encode(self, array: Unsigned) -> bytes:
        """How it was drawn, and the stream of what is left."""
        left = array.copy(order="C")
        self._change_places(left)
        head = bytes([KINDS.index(self.kind)]) + varint(self.seed) + varint(self.stream)
        return head + struct.pack("<d", self.scale) + bytes([self.inner.id]) + self.inner.encode(left)

    @classmethod
    def read(cls, source: Source) -> Self:
        """How a tensor was drawn, from the start of its stream; FormatError for what cannot be."""
        kind, seed, stream = source.take(1)[0], source.varint(), source.varint()
        (scale,) = struct.unpack("<d", source.take(8))
        inner = source.take(1)[0]
        if kind >= len(KINDS):
            raise FormatError(f"unknown kind {kind} of draws.")
        if inner not in INNER:
            raise FormatError(f"codec {inner} inside of drawn values.")
        try:
            return cls(KINDS[kind], seed, stream, scale, INNER[inner])
        except PrunusError as error:
            raise FormatError(str(error)) from None

    def decode(self, data: Bytes, shape: tuple[int, ...], dtype: np.dtype[np.unsignedinteger]) -> Unsigned:
        """The array in `data`."""
        source = Source(data, "its stream")
        drawn = self.read(source)
        array = drawn.inner.decode(source.rest(), shape, dtype)
        drawn._change_places(array)
        return array

    def _change_places(self, array: Unsigned) -> None:
        """Put the drawn value where there is a 1, and a 1 where it is; doing so again undoes it."""
        flat = array.reshape(-1)
        one = array.dtype.type(1)
        for start in range(0, prod(array.shape), CHUNK):
            part = flat[start : start + CHUNK]
            drawn = self._patterns(array.dtype, start, part.size)
            was_one, was_drawn = part == one, part == drawn
            np.copyto(part, drawn, where=was_one)
            part[was_drawn] = one

    def _patterns(self, dtype: np.dtype[np.unsignedinteger], first: int, count: int) -> Unsigned:
        """The bits of drawn values as integers of that width; the highest ones, as bfloat16 has them, if it is less."""
        bits = self.values((count,), first=first).numpy().view(np.uint32)
        return (bits >> np.uint32(max(0, 32 - 8 * dtype.itemsize))).astype(dtype)
