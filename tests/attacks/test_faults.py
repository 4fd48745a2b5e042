"""One test for each way in which a file can lie; every one is refused with a sentence that says what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch

from prunus import pack
from prunus.errors import FormatError
from prunus.pack.syntax import TABLE, Source, varint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.prunus"
    weight = torch.arange(200.0).reshape(10, 20)
    pack.write(path, {"fc.weight": weight * (weight % 7 == 0), "fc.bias": torch.ones(10), "twin": torch.ones(10)})
    return path


def take_apart(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The JSON header, the table and the streams of a file."""
    length = int.from_bytes(data[:8], "little")
    source = Source(data[8 + length :], "the file")
    table = TABLE.read(Source(source.take(source.varint()), "the table"))
    source.take(4)
    return json.loads(data[8 : 8 + length]), table, bytes(source.rest())


def put_together(header: dict[str, Any], table: dict[str, Any], streams: bytes) -> bytes:
    """A file with these parts, its lengths and the table's checksum made to fit."""
    rows = TABLE.write(table)
    payload = varint(len(rows)) + rows
    payload += crc32(payload).to_bytes(4, "little") + streams
    if "prunus" in header:
        header["prunus"] |= {"shape": [len(payload)], "data_offsets": [0, len(payload)]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + payload


def forged(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], bytes | None]) -> Path:
    """The file with its header and its table changed, by one who knows the format."""
    header, table, streams = take_apart(path.read_bytes())
    changed = change(header, table)
    path.write_bytes(put_together(header, table, streams if changed is None else changed))
    return path


def refused(path: Path, message: str, limits: pack.Limits | None = None) -> None:
    """`path` is refused with `message`, whether it is read or inspected."""
    for use in (pack.read, pack.inspect):
        with pytest.raises(FormatError, match=message):
            use(path, limits)


def test_a_file_put_together_again_is_read(path: Path) -> None:
    before = pack.read(path)
    forged(path, lambda header, table: None)
    assert all(torch.equal(before[name], tensor) for name, tensor in pack.read(path).items())


def test_truncated_anywhere(path: Path) -> None:
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        refused(path, "shorter than its header|truncated")


def test_trailing_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path, "truncated or altered")


def test_every_single_bit_flip(path: Path) -> None:
    data, before = path.read_bytes(), pack.read(path)
    harmless = 0
    for place in range(len(data)):
        for bit in (0, 6):
            altered = bytearray(data)
            altered[place] ^= 1 << bit
            path.write_bytes(altered)
            try:
                found = pack.read(path)
            except FormatError:
                continue
            harmless += 1
            assert list(found) == list(before)
            assert all(torch.equal(before[name], tensor) for name, tensor in found.items())
    assert harmless < 0.1 * len(data)


def test_a_flipped_bit_in_a_stream_names_the_tensor(path: Path) -> None:
    data = bytearray(path.read_bytes())
    first = pack.inspect(path).tensors[0]
    data[len(data) - sum(t.bytes for t in pack.inspect(path).tensors) + first.bytes - 1] ^= 16
    path.write_bytes(data)
    refused(path, r"tensor 'fc\.weight' is corrupt")


def test_wrong_checksum_of_a_tensor(path: Path) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> None:
        table["tensors"][1]["checksum"] ^= 1

    refused(forged(path, change), r"tensor 'fc\.bias' is corrupt: its checksum is \w{8}, the table says \w{8}")


def test_wrong_checksum_of_the_table(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"weight", b"wieght"))
    refused(path, "the table is corrupt: its checksum does not hold")


@pytest.mark.parametrize("version", ["2", "17"])
def test_future_version(path: Path, version: str) -> None:
    refused(
        forged(path, lambda header, table: header["__metadata__"].update(prunus=version)),
        f"version {version} of the format, this prunus reads up to 1",
    )


@pytest.mark.parametrize("version", ["", "-1", "1.5", "one", "²", "9" * 5000, None, 1])
def test_impossible_version(path: Path, version: object) -> None:
    refused(forged(path, lambda header, table: header["__metadata__"].update(prunus=version)), "names no version")


def test_unknown_codec(path: Path) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> None:
        table["tensors"][0]["codec"] = 99

    refused(forged(path, change), r"tensor 'fc\.weight' is in an unknown codec, number 99")


def test_unknown_dtype(path: Path) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> None:
        table["tensors"][0]["element"] = 200

    refused(forged(path, change), r"tensor 'fc\.weight' has an unknown dtype, number 200")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((10, 21), "corrupt"),
        ((10, 20, 2), "corrupt"),
        ((2**20, 2**30), "declares"),
        ((2**62,), "impossible shape"),
        ((2**40, 2**40), "impossible shape"),
        ((0, 2**40, 2**40), "impossible shape"),
        ((1,) * 100, "impossible shape"),
    ],
)
def test_over_declared_shape(path: Path, shape: tuple[int, ...], message: str) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> None:
        table["tensors"][0]["shape"] = shape

    refused(forged(path, change), message)


@pytest.mark.parametrize("codec", range(1, 7))
def test_decompression_bomb(path: Path, codec: int) -> None:
    """A few bytes that declare a gigabyte, in every codec, under limits that a cautious reader sets."""

    def change(header: dict[str, Any], table: dict[str, Any]) -> None:
        table["tensors"][0] |= {"shape": (2**14, 2**14), "codec": codec}

    refused(forged(path, change), "1,073,.* bytes, more than the limit of 1,000,000", pack.Limits(max_bytes=10**6))


def test_the_default_limits_refuse_what_no_network_is(path: Path) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> None:
        table["tensors"][0]["shape"] = (2**16, 2**15)

    refused(forged(path, change), r"declares 8,589,.*; where that is meant, read with Limits\(free_bytes=8589")


def test_too_many_tensors(path: Path) -> None:
    refused(path, "declares 3 tensors, more than the limit of 2", pack.Limits(max_tensors=2))


def test_a_hole_between_tensors(path: Path) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> bytes:
        return b"\0" + take_apart(path.read_bytes())[2]

    refused(forged(path, change), "the table describes .* bytes of tensors, .* follow it")


def test_tensors_that_overlap(path: Path) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> None:
        table["tensors"][0]["bytes"] += 1

    refused(forged(path, change), "the table describes .* bytes of tensors, .* follow it")


def test_a_boundary_that_moved(path: Path) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> None:
        table["tensors"][0]["bytes"] -= 1
        table["tensors"][1]["bytes"] += 1

    refused(forged(path, change), r"tensor 'fc\.weight' is corrupt")


def test_duplicate_names(path: Path) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> None:
        table["tensors"][2] |= {"shared": 0, "name": b"fc.weight"}

    refused(forged(path, change), r"tensor 'fc\.weight' is in the table twice")


def test_a_name_that_is_not_text(path: Path) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> None:
        table["tensors"][2]["name"] = b"\xff\xfe"

    refused(forged(path, change), "not UTF-8")


def test_a_name_that_shares_more_than_there_is(path: Path) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> None:
        table["tensors"][0]["shared"] = 1

    refused(forged(path, change), "shares more than the name before")


@pytest.mark.parametrize("twin", [2, 3, 10**9])
def test_a_twin_that_is_not_earlier(path: Path, twin: int) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> bytes:
        streams = take_apart(path.read_bytes())[2][:-1] + varint(twin)
        table["tensors"][2]["bytes"] = len(varint(twin))
        return streams

    refused(forged(path, change), f"tensor 'twin' claims to equal tensor number {twin}")


def test_a_twin_of_another_shape(path: Path) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> None:
        table["tensors"][2]["shape"] = (5,)

    refused(forged(path, change), "claims to equal")


def test_a_bool_that_is_neither(tmp_path: Path) -> None:
    path = tmp_path / "a.prunus"
    pack.write(path, {"mask": torch.tensor([True, False])}, codecs={"mask": pack.Raw()})

    def change(header: dict[str, Any], table: dict[str, Any]) -> bytes:
        table["tensors"][0]["checksum"] = crc32(b"\x01\x02")
        return b"\x01\x02"

    refused(forged(path, change), "tensor 'mask' is corrupt: an entry is neither true nor false")


def test_names_that_look_like_paths_are_only_names(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "/tmp/x", "C:\\x", "a\0b", "", ".", "__proto__"]
    folder = tmp_path / "in"
    folder.mkdir()
    pack.write(folder / "a.prunus", {name: torch.ones(2) for name in names})
    assert list(pack.read(folder / "a.prunus")) == names
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "a.prunus"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b"[" * 50_000,
        b'{"prunus":1,"__metadata__":1}',
        b'{"prunus":{},"__metadata__":{"prunus":"1"}}',
        b'{"prunus":{},"prunus":{},"__metadata__":{"prunus":"1"}}',
        b'{"prunus":{"dtype":"U8","shape":[9],"data_offsets":[0,9]},"__metadata__":{"prunus":"1"},"more":{}}',
    ],
)
def test_a_header_that_is_none(path: Path, text: bytes) -> None:
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"payload..")
    refused(path, "not a .prunus file|does not describe")


@pytest.mark.parametrize("length", [2**16 + 1, 2**40, 2**64 - 1])
def test_a_huge_header(path: Path, length: int) -> None:
    path.write_bytes(length.to_bytes(8, "little") + b" " * (2**16 + 100))
    refused(path, "longer than|shorter than")


def test_another_kind_of_file(path: Path) -> None:
    for content in (b"", b"PK\x03\x04" * 100, b"\x80\x02}q\x00." * 100):
        path.write_bytes(content)
        refused(path, "not a .prunus file")


def test_an_integer_that_never_ends(path: Path) -> None:
    def change(header: dict[str, Any], table: dict[str, Any]) -> bytes:
        streams = take_apart(path.read_bytes())[2]
        return streams[:-1] + b"\x80"

    refused(forged(path, change), "stream of tensor 'twin' is cut short")
    for bytes_ in (b"\x80\x00", b"\xff" * 9):
        with pytest.raises(FormatError, match="no writer produces"):
            Source(bytes_, "it").varint()
