"""Writing `.prunus` files."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal
from zlib import crc32

import torch

from prunus.code.bits import Unsigned
from prunus.errors import unknown
from prunus.files import written_whole
from prunus.pack import shell
from prunus.pack.choose import CANDIDATES, smallest
from prunus.pack.codec import Codec, Drawn, Raw
from prunus.pack.contents import Contents, Label, Stored, order_0_bytes
from prunus.pack.elements import ELEMENTS, Element, to_integers
from prunus.pack.syntax import SAME, TABLE, encode_text, varint

Effort = Literal["fast", "best"]


def write(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    *,
    effort: Effort = "best",
    codecs: Mapping[str, Codec] | None = None,
    drawn: Mapping[str, Drawn] | None = None,
    model: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Contents:
    """Write `tensors` to `path`, whole or not at all; `read` gives every one back bit for bit.

    `effort`: "best" tries the codecs on each tensor and keeps the smallest, "fast" stays with the quick ones.
    `codecs`: the codec for each tensor named here. `drawn`: how tensors were drawn: those that still are so, but for
    zeros, are stored as a seed and a mask; a statement that is not true does no harm. `model`: the built-in network
    that the tensors belong to.
    Tensors with the same bytes, dtype and shape are stored once.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.prunus"
    >>> contents = write(path, {"weight": torch.eye(100)}, effort="fast")
    >>> [(t.name, t.kept, t.distinct, t.codec) for t in contents.tensors]
    [('weight', 100, 1, 'range')]
    """
    if effort not in CANDIDATES:
        raise unknown("effort", effort, CANDIDATES)
    codecs, drawn = codecs or {}, drawn or {}
    for what, names in (("codecs", codecs), ("drawn", drawn)):
        for name in names:
            if name not in tensors:
                raise unknown(f"tensor in {what}", name, tensors)
    table = _Table()
    for name, tensor in tensors.items():
        table.add(name, tensor, codecs.get(name), drawn.get(name), effort)
    fields = {
        "model": model or "",
        "metadata": [{"key": key, "value": value} for key, value in (metadata or {}).items()],
        "tensors": table.rows,
    }
    data = TABLE.write(fields)
    head = varint(len(data)) + data
    head += crc32(head).to_bytes(4, "little")
    head = shell.header(len(head) + sum(map(len, table.streams))) + head
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        file.write(head)
        file.writelines(table.streams)
    file_bytes = len(head) + sum(map(len, table.streams))
    label = Label(shell.VERSION, model or None, dict(metadata or {}))
    return Contents(label, file_bytes, len(head), tuple(table.report))


EMPTY: Codec = Raw()


def _shared(before: bytes, name: bytes) -> int:
    """How many bytes two names begin with in common."""
    return next((i for i, (a, b) in enumerate(zip(before, name, strict=False)) if a != b), min(len(before), len(name)))


class _Table:
    """What the file will hold: a row, a report and a stream for each tensor."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.report: list[Stored] = []
        self.streams: list[bytes] = []
        self._seen: dict[tuple[Element, tuple[int, ...], int], list[tuple[int, Unsigned]]] = {}
        self._name = b""

    def add(self, name: str, tensor: torch.Tensor, codec: Codec | None, drawn: Drawn | None, effort: str) -> None:
        element, integers, exact = to_integers(name, tensor)
        shape, checksum = tuple(tensor.shape), crc32(exact.data)
        equals = self._seen.setdefault((element, shape, checksum), [])
        twin = next((index for index, other in equals if (exact == other).all()), None)
        if twin is not None:
            codec_id, data = SAME, varint(twin)
            report = replace(self.report[twin], name=name, codec="same", bytes=len(data), entropy_bytes=0)
        else:
            equals.append((len(self.rows), exact))
            array = integers.reshape(*shape, element.parts) if element.parts > 1 else integers.reshape(shape)
            if not exact.size:
                used, data = EMPTY, b""
            elif codec is None:
                used, data = smallest(array, effort, drawn)
            else:
                used, data = codec, codec.encode(array)
            codec_id = used.id
            kept, distinct, bound = order_0_bytes(integers)
            report = Stored(name, element.dtype, shape, kept, distinct, used.name, len(data), bound)
        encoded = encode_text(name)
        shared = _shared(self._name, encoded)
        self._name = encoded
        self.rows.append(
            {
                "shared": shared,
                "name": encoded[shared:],
                "element": ELEMENTS.index(element),
                "shape": shape,
                "codec": codec_id,
                "bytes": len(data),
                "checksum": checksum,
            }
        )
        self.report.append(report)
        self.streams.append(data)
