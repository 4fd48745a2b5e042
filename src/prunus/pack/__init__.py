"""The file that ships: any tensors in, a small file out, the same bits back. See `docs/format.md`."""

from prunus.pack.codec import Codec, Drawn, Mixed, Ranged, Raw, RelativeIndex
from prunus.pack.contents import Contents, Label, Stored
from prunus.pack.limits import Limits
from prunus.pack.reader import drawn, inspect, outlines, peek, read, stream
from prunus.pack.writer import Effort, write

__all__ = [
    "Codec",
    "Contents",
    "Drawn",
    "Effort",
    "Label",
    "Limits",
    "Mixed",
    "Ranged",
    "Raw",
    "RelativeIndex",
    "Stored",
    "drawn",
    "inspect",
    "outlines",
    "peek",
    "read",
    "stream",
    "write",
]
