"""Reading `.prunus` files, from friends and strangers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO
from zlib import crc32

import torch

from prunus.errors import FormatError
from prunus.pack import shell
from prunus.pack.codec import Drawn
from prunus.pack.contents import Contents, Label, Stored, order_0_bytes
from prunus.pack.elements import dtype_of, to_tensor
from prunus.pack.limits import Limits
from prunus.pack.syntax import Source
from prunus.pack.table import Row, parse


def read(path: str | os.PathLike[str], limits: Limits | None = None) -> dict[str, torch.Tensor]:
    """All tensors of a file in the order they were written, each with memory of its own, on the CPU.

    FormatError, naming the tensor where it is one, for a file that is truncated, altered, over-declared or
    from a later version.
    """
    tensors: dict[str, torch.Tensor] = {}
    with _opened(path, limits) as file:
        for row, data in file.streams():
            if row.codec is None:
                tensors[row.name] = tensors[file.twin(row, data).name].clone()
            else:
                tensors[row.name] = to_tensor(row.element, row.decode(data)[1], row.shape)
    return tensors


def stream(path: str | os.PathLike[str], limits: Limits | None = None) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of a file one after the other, none of them kept in memory. Errors as `read`."""
    with _opened(path, limits) as file:
        for row, data in file.streams():
            if row.codec is None:
                twin = file.twin(row, data)
                yield row.name, to_tensor(twin.element, twin.decode(file.again(twin))[1], twin.shape)
            else:
                yield row.name, to_tensor(row.element, row.decode(data)[1], row.shape)


def outlines(path: str | os.PathLike[str], limits: Limits | None = None) -> dict[str, torch.Tensor]:
    """Shapes and dtypes of a file's tensors, as tensors on the device "meta", without reading any. Errors as `read`."""
    with _opened(path, limits) as file:
        return {row.name: torch.empty(row.shape, dtype=dtype_of(row.element), device="meta") for row in file.rows}


def inspect(path: str | os.PathLike[str], limits: Limits | None = None) -> Contents:
    """What is in a file; decodes tensor after tensor, so every checksum is verified. Errors as `read`."""
    stored: dict[str, Stored] = {}
    with _opened(path, limits) as file:
        for row, data in file.streams():
            if row.codec is None:
                twin = stored[file.twin(row, data).name]
                stored[row.name] = replace(twin, name=row.name, codec="same", bytes=row.bytes, entropy_bytes=0)
            else:
                kept, distinct, bound = order_0_bytes(row.decode(data)[0])
                stored[row.name] = Stored(
                    row.name, row.element.dtype, row.shape, kept, distinct, row.codec.name, row.bytes, bound
                )
        return Contents(file.label, file.bytes, file.overhead_bytes, tuple(stored.values()))


def peek(path: str | os.PathLike[str], limits: Limits | None = None) -> Label:
    """What a file says of itself, without reading a tensor. Errors as `read`."""
    with _opened(path, limits) as file:
        return file.label


def drawn(path: str | os.PathLike[str], limits: Limits | None = None) -> dict[str, Drawn]:
    """How those tensors of a file were drawn that are stored as a seed and a mask. Errors as `read`."""
    found: dict[str, Drawn] = {}
    with _opened(path, limits) as file:
        for row, data in file.streams():
            if isinstance(row.codec, Drawn) and row.decoded_bytes:
                found[row.name] = row.codec.read(Source(data, f"the stream of tensor {row.name!r}"))
    return found


@dataclass(frozen=True)
class _Opened:
    """A file whose table has been read and checked, before its first stream."""

    label: Label
    rows: list[Row]
    bytes: int
    overhead_bytes: int
    file: BinaryIO

    def streams(self) -> Iterator[tuple[Row, bytearray]]:
        """Every row with its bytes."""
        for row in self.rows:
            yield row, _read_exactly(self.file, row.bytes)

    def again(self, row: Row) -> bytearray:
        """The bytes of a row that has been passed."""
        here = self.file.tell()
        self.file.seek(self.bytes - sum(later.bytes for later in self.rows[self.rows.index(row) :]))
        data = _read_exactly(self.file, row.bytes)
        self.file.seek(here)
        return data

    def twin(self, row: Row, data: bytearray) -> Row:
        """The earlier row that `row` equals, named by its stream."""
        source = Source(data, f"the stream of tensor {row.name!r}")
        index = source.varint()
        source.end()
        if index < self.rows.index(row):
            twin = self.rows[index]
            if twin.codec and (twin.element, twin.shape, twin.checksum) == (
                row.element,
                row.shape,
                row.checksum,
            ):
                return twin
        raise FormatError(f"tensor {row.name!r} claims to equal tensor number {index}, which is not alike.")


@contextmanager
def _opened(path: str | os.PathLike[str], limits: Limits | None) -> Iterator[_Opened]:
    """Open a file and check all that can be checked before decoding."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        payload = shell.read_header(file, size)
        start = _read_exactly(file, min(payload, 9))
        source = Source(start, "the table")
        length = source.varint()
        if length + source.position + 4 > payload:
            raise FormatError(f"a table of {length:,} bytes does not fit in the {payload:,} bytes of the file.")
        head = start + _read_exactly(file, max(0, length + source.position + 4 - len(start)))
        file.seek(size - payload + source.position + length + 4)
        table, checksum = head[: source.position + length], head[source.position + length :][:4]
        if crc32(table) != int.from_bytes(checksum, "little"):
            raise FormatError("the table is corrupt: its checksum does not hold.")
        streams = payload - len(table) - 4
        model, metadata, rows = parse(table[source.position :], streams, limits or Limits())
        label = Label(shell.VERSION, model or None, metadata)
        yield _Opened(label, rows, size, size - streams, file)


def _read_exactly(file: BinaryIO, count: int) -> bytearray:
    """The next `count` bytes, known to be in the file when it was opened."""
    data = bytearray(count)
    if file.readinto(data) != count:  # type: ignore[attr-defined]
        raise FormatError("the file became shorter while it was read.")
    return data
