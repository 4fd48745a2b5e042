"""The outside of a `.prunus` file: a valid `.safetensors` file with one tensor of bytes, and its version."""

import json
from typing import Any, BinaryIO

from prunus.errors import FormatError

VERSION = 1
LONGEST_HEADER = 1 << 16


def header(payload_bytes: int) -> bytes:
    """The bytes before a payload of that many bytes."""
    entries = {
        "__metadata__": {"prunus": str(VERSION)},
        "prunus": {"dtype": "U8", "shape": [payload_bytes], "data_offsets": [0, payload_bytes]},
    }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def read_header(file: BinaryIO, file_bytes: int) -> int:
    """Go past the header; how many bytes of payload follow it, to the very end of the file."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 0 < length <= file_bytes - 8:
        raise FormatError("not a .prunus file: it is shorter than its header says.")
    if length > LONGEST_HEADER:
        raise FormatError(f"not a .prunus file: its header of {length:,} bytes is longer than {LONGEST_HEADER:,}.")
    try:
        entries = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise FormatError("not a .prunus file: its header is not plain JSON.") from None
    payload = file_bytes - 8 - length
    if not isinstance(entries, dict) or set(entries) != {"__metadata__", "prunus"}:
        raise FormatError("not a .prunus file: its header does not name one tensor, `prunus`, and metadata.")
    metadata = entries["__metadata__"]
    version = metadata.get("prunus") if isinstance(metadata, dict) else None
    if not isinstance(version, str) or not version.isascii() or not version.isdecimal() or len(version) > 9:
        raise FormatError("not a .prunus file: its header names no version.")
    if int(version) != VERSION:
        raise FormatError(f"the file is in version {int(version)} of the format, this prunus reads up to {VERSION}.")
    if entries["prunus"] != {"dtype": "U8", "shape": [payload], "data_offsets": [0, payload]}:
        raise FormatError(f"the header does not describe the {payload:,} bytes that follow it: truncated or altered.")
    return payload


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice")
    return found
