"""The table of a file: its tensors, checked for plausibility before any of them is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any
from zlib import crc32

import numpy as np

from prunus.code.bits import Unsigned
from prunus.errors import FormatError
from prunus.pack.codec import Codec, by_id
from prunus.pack.elements import ELEMENTS, Element, widen
from prunus.pack.limits import Limits
from prunus.pack.syntax import SAME, TABLE, Source

MOST_AXES = 64


@dataclass(frozen=True)
class Row:
    """One tensor as the table describes it; no codec: it equals an earlier one."""

    name: str
    element: Element
    shape: tuple[int, ...]
    codec: Codec | None
    bytes: int
    checksum: int

    @property
    def decoded_bytes(self) -> int:
        """What the tensor takes in memory."""
        return prod(self.shape) * self.element.parts * self.element.size

    def decode(self, data: bytearray) -> tuple[Unsigned, Unsigned]:
        """The flat integers that the codec stored, and the tensor's own; FormatError if they are wrong."""
        shape = (*self.shape, self.element.parts) if self.element.parts > 1 else self.shape
        try:
            if self.codec is None or not self.decoded_bytes:
                Source(data, "its stream").end()
                stored = np.zeros(0, self.element.stored)
            else:
                stored = self.codec.decode(data, shape, self.element.stored).reshape(-1)
            exact = widen(self.element, stored)
            checksum = crc32(exact.data)
            if checksum != self.checksum:
                raise FormatError(f"its checksum is {checksum:08x}, the table says {self.checksum:08x}.")
            if self.element.dtype == "bool" and exact.size and exact.max() > 1:
                raise FormatError("an entry is neither true nor false.")
        except FormatError as error:
            raise FormatError(f"tensor {self.name!r} is corrupt: {error}") from None
        return stored, exact


def parse(data: bytearray, stream_bytes: int, limits: Limits) -> tuple[str, dict[str, str], list[Row]]:
    """The model, the metadata and the rows of a table that `stream_bytes` of streams follow."""
    source = Source(data, "the table")
    fields = TABLE.read(source)
    source.end()
    metadata = {item["key"]: item["value"] for item in fields["metadata"]}
    if len(metadata) < len(fields["metadata"]):
        raise FormatError("a key of the metadata appears twice.")
    rows: list[Row] = []
    encoded = b""
    for item in fields["tensors"]:
        if item["shared"] > len(encoded):
            raise FormatError("a name in the table shares more than the name before it has.")
        encoded = encoded[: item["shared"]] + item["name"]
        rows.append(_row(encoded, item))
    if len({row.name for row in rows}) < len(rows):
        names = [row.name for row in rows]
        raise FormatError(f"tensor {next(n for n in names if names.count(n) > 1)!r} is in the table twice.")
    declared = sum(row.bytes for row in rows)
    if declared != stream_bytes:
        raise FormatError(f"the table describes {declared:,} bytes of tensors, {stream_bytes:,} follow it.")
    limits.check(sum(row.decoded_bytes for row in rows), len(data) + stream_bytes, len(rows))
    return fields["model"], metadata, rows


def _row(encoded: bytes, item: dict[str, Any]) -> Row:
    try:
        name = encoded.decode()
    except UnicodeDecodeError:
        raise FormatError(f"a name in the table is not UTF-8: {encoded!r}.") from None
    if item["element"] >= len(ELEMENTS):
        raise FormatError(f"tensor {name!r} has an unknown dtype, number {item['element']}.")
    shape = tuple(item["shape"])
    # Not even with an axis of length 0 may the other lengths multiply beyond what can be addressed.
    if len(shape) > MOST_AXES or prod(max(1, length) for length in shape) >= 1 << 59:
        raise FormatError(f"tensor {name!r} has the impossible shape {shape}.")
    codec = None if item["codec"] == SAME else by_id(item["codec"], name)
    return Row(name, ELEMENTS[item["element"]], shape, codec, item["bytes"], item["checksum"])
