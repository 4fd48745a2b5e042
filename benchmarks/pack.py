"""Sizes and seconds of `.prunus` files beside general compressors, on checkpoints given as arguments.

    python benchmarks/pack.py weights.safetensors [more.safetensors ...] [--bfloat16]

Every compressor gets the bytes of the same plain `.safetensors` file. Decoding is checked bit for bit. Loops are
compiled beforehand; seconds are the best of three. With --bfloat16 the first file is measured rounded to bfloat16, too.
Prints a table, and keeps it in results/pack.json. `prunus compress --stages FOLDER` leaves such files in FOLDER.
"""

import argparse
import bz2
import lzma
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import zstandard

from machine import keep
from prunus import pack
from prunus.checkpoint import read_weights, write_weights


def timed(work: Callable[[], Any], times: int = 3) -> tuple[Any, float]:
    """The result of `work`, and the shortest of the times it took."""
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - started)
    return result, best


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors agree in every name, dtype, shape and bit."""

    def bits(tensor: torch.Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
        flat = tensor.contiguous().reshape(-1)
        return tensor.dtype, tensor.shape, flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""

    return list(a) == list(b) and all(bits(a[name]) == bits(b[name]) for name in a)


def measure(name: str, tensors: dict[str, torch.Tensor], folder: Path) -> list[dict[str, Any]]:
    """One row for each way to store `tensors`."""
    plain = folder / "plain.safetensors"
    write_weights(plain, tensors)
    data = plain.read_bytes()
    rows = []

    def row(way: str, size: int, write: float, read: float) -> None:
        rows.append({"file": name, "way": way, "bytes": size, "ratio": len(data) / size, "write": write, "read": read})

    row("safetensors", len(data), 0, 0)
    zstd = zstandard.ZstdCompressor(19)
    for way, compress, expand in (
        ("zstd -19", zstd.compress, zstandard.ZstdDecompressor().decompress),
        ("xz -9", lambda raw: lzma.compress(raw, preset=9), lzma.decompress),
        ("bzip2 -9", bz2.compress, bz2.decompress),
    ):
        small, write = timed(lambda compress=compress: compress(data), 1)
        _, read = timed(lambda expand=expand, small=small: expand(small))
        row(way, len(small), write, read)
    huffman = {name: pack.RelativeIndex(huffman=True) for name, t in tensors.items() if t.numel() > 1}
    path = folder / "packed.prunus"
    for way, options in (
        ("Deep Compression", {"codecs": huffman}),
        ("prunus fast", {"effort": "fast"}),
        ("prunus best", {"effort": "best"}),
    ):
        pack.write(path, tensors, **options)
        pack.read(path)
        contents, write = timed(lambda options=options: pack.write(path, tensors, **options))
        found, read = timed(lambda: pack.read(path))
        if not same(found, tensors):
            raise SystemExit(f"{name}: {way} did not come back bit for bit")
        row(way, contents.file_bytes, write, read)
    bound = sum(t.entropy_bytes for t in contents.tensors)
    row("(order-0 bound)", bound, 0, 0)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--bfloat16", action="store_true")
    options = parser.parse_args()
    checkpoints = {"/".join(path.parts[-2:]): read_weights(path) for path in options.files}
    if options.bfloat16:
        first, tensors = next(iter(checkpoints.items()))
        checkpoints[f"{first} in bfloat16"] = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, tensors in checkpoints.items():
            found = measure(name, tensors, Path(folder))
            rows += found
            print(name)
            for row in found:
                print("  {way:18}{bytes:12,}{ratio:8.2f}x{write:9.3f} s{read:9.3f} s".format(**row))
    print(keep("pack", {"rows": rows}))


if __name__ == "__main__":
    main()
