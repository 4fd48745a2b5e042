"""The codec of networks that were drawn and never trained: a seed in place of values, and which of them live."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import prod
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch

from prunus.code.bits import Bytes, Unsigned
from prunus.distribution import Hyperbolic, Known, SignedConstant, Symmetric, Uniform
from prunus.errors import FormatError, PrunusError, unknown
from prunus.pack.codec.mixed import Mixed
from prunus.pack.codec.ranged import Ranged
from prunus.pack.syntax import Source, varint

KINDS: Mapping[str, type[Known]] = MappingProxyType(  # the position is the number in the file: only ever append
    {"signed-constant": SignedConstant, "uniform": Symmetric, "interval": Uniform, "hyperbolic": Hyperbolic}
)
ONE = SignedConstant(1.0)
INNER: Mapping[int, Mixed | Ranged] = MappingProxyType({codec.id: codec for codec in (Ranged(), Mixed())})
CHUNK = 1 << 16


@dataclass(frozen=True)
class Drawn:
    """How a tensor was drawn, entry by entry, from the words of a (seed, stream) of `prunus.draws`.

    `distribution` is one of `prunus.distribution`. Both seed and stream are below 2**63.

    As a codec it codes an array in which the pattern 1 and the drawn value of each entry have changed places: of a
    network that was drawn and masked, zeros and ones are left. `inner` codes those. Any other array comes back too.

    >>> Drawn(SignedConstant(0.5), seed=7).values((2, 3))
    tensor([[ 0.5000, -0.5000, -0.5000],
            [ 0.5000,  0.5000,  0.5000]])
    """

    distribution: Known = ONE
    seed: int = 0
    stream: int = 0
    inner: Mixed | Ranged = field(default=INNER[5], repr=False, compare=False)

    id = 6
    name = "drawn"

    def __post_init__(self) -> None:
        for name in ("seed", "stream"):
            if not 0 <= getattr(self, name) < 1 << 63:
                raise PrunusError(f"a {name} must be at least 0 and below 2**63, found {getattr(self, name)}.")

    def values(self, shape: tuple[int, ...], *, first: int = 0) -> torch.Tensor:  # float32
        """The values of all entries, or of a stretch of them from entry `first` on."""
        return self.distribution.draw(self.seed, self.stream, shape, first=first)

    def statement(self) -> list[str | int | float]:
        """The name of its kind, seed, stream, and the parameters of the distribution, as `stated` takes them."""
        return [list(KINDS)[self._kind()], self.seed, self.stream, *self._parameters()]

    @classmethod
    def stated(cls, kind: str, seed: int, stream: int, *parameters: Any) -> Self:
        """What `statement` says; PrunusError for what cannot be."""
        if kind not in KINDS:
            raise unknown("kind of draws", kind, KINDS)
        expected = {each.name: each.type for each in fields(KINDS[kind])}
        if [type(parameter) for parameter in parameters] != list(expected.values()):
            raise PrunusError(f"draws of kind {kind!r} take {' and '.join(expected)}, found {str(parameters)[:80]}.")
        return cls(KINDS[kind](*parameters), seed, stream)

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
        head = bytes([self._kind()]) + varint(self.seed) + varint(self.stream)
        head += b"".join(varint(p) if isinstance(p, int) else struct.pack("<d", p) for p in self._parameters())
        return head + bytes([self.inner.id]) + self.inner.encode(left)

    @classmethod
    def read(cls, source: Source) -> Self:
        """How a tensor was drawn, from the start of its stream; FormatError for what cannot be."""
        number, seed, stream = source.take(1)[0], source.varint(), source.varint()
        if number >= len(KINDS):
            raise FormatError(f"unknown kind {number} of draws.")
        kind = list(KINDS.values())[number]
        parameters = [
            source.varint() if each.type is int else struct.unpack("<d", source.take(8))[0] for each in fields(kind)
        ]
        inner = source.take(1)[0]
        if inner not in INNER:
            raise FormatError(f"codec {inner} inside of drawn values.")
        try:
            return cls(kind(*parameters), seed, stream, INNER[inner])
        except PrunusError as error:
            raise FormatError(str(error)) from None

    def decode(self, data: Bytes, shape: tuple[int, ...], dtype: np.dtype[np.unsignedinteger]) -> Unsigned:
        """The array in `data`."""
        source = Source(data, "its stream")
        drawn = self.read(source)
        array = drawn.inner.decode(source.rest(), shape, dtype)
        drawn._change_places(array)
        return array

    def _kind(self) -> int:
        """The number of the distribution in the file."""
        return list(KINDS.values()).index(type(self.distribution))

    def _parameters(self) -> list[int | float]:
        """Those of the distribution, integers and floats also where they were given otherwise."""
        given = [(each.type, getattr(self.distribution, each.name)) for each in fields(self.distribution)]
        return [int(value) if kind is int else float(value) for kind, value in given]

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
