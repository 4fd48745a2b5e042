"""The syntax of the table in a `.prunus` file: one description that writer and reader both follow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prunus.code.bits import Bytes
from prunus.errors import FormatError, PrunusError


class Source:
    """Bytes taken from the front; FormatError when they run out."""

    def __init__(self, data: Bytes, what: str) -> None:
        self.data, self.position, self.what = memoryview(data), 0, what

    def take(self, count: int) -> memoryview:
        """The next `count` bytes, not copied."""
        if not 0 <= count <= len(self.data) - self.position:
            left = len(self.data) - self.position
            raise FormatError(f"{self.what} is cut short: {count} bytes expected, {left} left.")
        self.position += count
        return self.data[self.position - count : self.position]

    def rest(self) -> memoryview:
        """All bytes that are left, not copied."""
        return self.take(len(self.data) - self.position)

    def varint(self) -> int:
        """The next integer, 7 bits a byte, the lowest first, the top bit set on all bytes but the last."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                if not byte and shift:
                    break
                return value
        raise FormatError(f"{self.what} holds an integer that no writer produces.")

    def end(self) -> None:
        """FormatError unless every byte was taken."""
        if self.position < len(self.data):
            raise FormatError(f"{self.what} has {len(self.data) - self.position} bytes too many.")


def varint(value: int) -> bytes:
    """`value` in the form that `Source.varint` reads.

    >>> varint(5).hex(), varint(300).hex()
    ('05', 'ac02')
    """
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


@dataclass(frozen=True)
class Kind:
    """How one kind of field is written and read."""

    write: Callable[[Any], bytes]
    read: Callable[[Source], Any]


def _write_data(data: bytes) -> bytes:
    return varint(len(data)) + data


def _read_data(source: Source) -> bytes:
    return bytes(source.take(source.varint()))


def _read_text(source: Source) -> str:
    try:
        return _read_data(source).decode()
    except UnicodeDecodeError:
        raise FormatError(f"{source.what} holds text that is not UTF-8.") from None


def encode_text(text: str) -> bytes:
    """`text` in UTF-8; PrunusError where it has none."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise PrunusError(f"{text!r} cannot be written: it is not valid Unicode.") from None


def _read_many(source: Source, kind: Kind) -> list[Any]:
    count = source.varint()
    if count > len(source.data) - source.position:  # every item takes a byte or more
        raise FormatError(f"{source.what} declares {count} items and has no room for them.")
    return [kind.read(source) for _ in range(count)]


def many(kind: Kind) -> Kind:
    """A count and that many fields of one kind."""
    return Kind(
        lambda items: varint(len(items)) + b"".join(map(kind.write, items)),
        lambda source: _read_many(source, kind),
    )


def record(fields: Mapping[str, Kind]) -> Kind:
    """Named fields in order: a dict."""
    return Kind(
        lambda item: b"".join(kind.write(item[name]) for name, kind in fields.items()),
        lambda source: {name: kind.read(source) for name, kind in fields.items()},
    )


DATA = Kind(_write_data, _read_data)
INTEGER = Kind(varint, Source.varint)
TEXT = Kind(lambda text: _write_data(encode_text(text)), _read_text)
CHECKSUM = Kind(lambda value: value.to_bytes(4, "little"), lambda source: int.from_bytes(source.take(4), "little"))

SAME = 0
TENSOR = record(
    {
        "shared": INTEGER,  # this many bytes of the name before begin this name
        "name": DATA,  # UTF-8
        "element": INTEGER,
        "shape": many(INTEGER),
        "codec": INTEGER,  # SAME: the stream is the number of an earlier tensor with the same entries
        "bytes": INTEGER,
        "checksum": CHECKSUM,
    }
)
TABLE = record(
    {
        "model": TEXT,
        "metadata": many(record({"key": TEXT, "value": TEXT})),
        "tensors": many(TENSOR),
    }
)
