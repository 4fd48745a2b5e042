"""Damages `.prunus` files in thousands of ways: each is refused with FormatError or read as the original.

    python benchmarks/attacks.py [--count 10000] [--seed 0]

Half of the files are damaged blindly. The others are changed by somebody who knows the format: a field of the
table or bytes of a stream, and lengths and checksums of header and table are made to fit again, so that the
damage reaches the decoders; what is then a valid file may be read as what it says. A read that takes longer
than 10 s, or allocates more than twice what the file declares (and a fixed workspace), fails. Set
NUMBA_BOUNDSCHECK=1 and an empty NUMBA_CACHE_DIR to have every index in compiled code checked as well.
Prints one JSON object, and keeps it in results/attacks.json.
"""

import argparse
import faulthandler
import json
import resource
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import numpy as np
import torch

from machine import keep
from prunus import pack
from prunus.errors import FormatError
from prunus.pack.shell import header
from prunus.pack.syntax import TABLE, Source, varint
from prunus.pack.table import parse
from prunus.testing.mutants import mutants

LIMITS = pack.Limits(max_bytes=32 << 20)
WORKSPACE = 8 << 20
SECONDS = 10


def originals() -> Iterator[tuple[str, dict[str, torch.Tensor], dict[str, pack.Codec]]]:
    """Small networks in every codec."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(40, 60, generator=generator)
    tensors = {
        "pruned": weight * (weight.abs() > 1.5) + 0,
        "quantised": (weight * 2).round() / 2 + 0,
        "dense": weight[:10].contiguous(),
        "half": weight.bfloat16(),
        "conv": weight[:4, :45].reshape(4, 5, 3, 3).contiguous(),
        "indices": torch.arange(200) ** 2,
        "mask": weight > 1,
        "twin": weight > 1,
        "scalar": torch.tensor(3),
    }
    for codec in (
        pack.Raw(),
        pack.RelativeIndex(),
        pack.RelativeIndex(huffman=True),
        pack.Ranged(),
        pack.Mixed(),
        pack.Drawn(),
    ):
        yield codec.name, tensors, dict.fromkeys(tensors, codec)


def informed_mutants(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Copies with a field or a stream changed, and every length and checksum around it right."""
    rng = np.random.default_rng(seed)
    source = Source(data[8 + int.from_bytes(data[:8], "little") :], "the file")
    rows = bytes(source.take(source.varint()))
    source.take(4)
    streams = bytes(source.rest())
    numbers = [0, 1, 2, 3, 7, 50, 127, 128, 1000, 65_535, 65_536, 1 << 22, 1 << 31, 1 << 40, (1 << 62) + 1]
    for index in range(count):
        table, changed = TABLE.read(Source(rows, "the table")), streams
        row = table["tensors"][int(rng.integers(len(table["tensors"])))]
        start = sum(other["bytes"] for other in table["tensors"][: table["tensors"].index(row)])
        stream = streams[start : start + row["bytes"]]
        number = int(rng.choice(numbers))
        match rng.integers(6):
            case 0:
                row["shape"] = [number if rng.random() < 0.5 else length for length in row["shape"]] or [number]
            case 1:
                row["element"] = int(rng.integers(25))
            case 2:
                row["codec"] = int(rng.integers(8))
            case 3:
                row["shape"] = [int(length) for length in rng.integers(0, 3000, rng.integers(4))]
            case _:
                stream = next(mutants(stream, 1, seed * count + index))
        changed = streams[:start] + stream + streams[start + row["bytes"] :]
        row["bytes"] = len(stream)
        payload = TABLE.write(table)
        payload = varint(len(payload)) + payload
        payload += crc32(payload).to_bytes(4, "little") + changed
        yield header(len(payload)) + payload


def declared(data: bytes) -> int:
    """Bytes of tensors that a file declares; 0 where it is refused before that matters."""
    try:
        source = Source(data[8 + int.from_bytes(data[:8], "little") :], "the file")
        rows = bytearray(source.take(source.varint()))
        source.take(4)
        return sum(row.decoded_bytes for row in parse(rows, len(source.rest()), LIMITS)[2])
    except FormatError:
        return 0


def attempt(path: Path) -> tuple[dict[str, torch.Tensor] | None, float, int]:
    """What a file reads as (None: refused), in how many seconds, and the most bytes allocated meanwhile."""
    found = None
    faulthandler.dump_traceback_later(6 * SECONDS, exit=True)
    tracemalloc.start()
    started = time.perf_counter()
    with suppress(FormatError):
        found = pack.read(path, LIMITS)
    seconds, peak = time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    faulthandler.cancel_dump_traceback_later()
    return found, seconds, peak


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--count", type=int, default=10_000)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    refused = intact = forged = 0
    slowest = hungriest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.prunus"
        cases = list(originals())
        for index, (name, tensors, codecs) in enumerate(cases):
            pack.write(path, tensors, codecs=codecs)
            data, expected = path.read_bytes(), pack.read(path)
            each = options.count // len(cases) // 2
            seed = options.seed * len(cases) + index
            blind = [(mutant, True) for mutant in mutants(data, each, seed)]
            informed = [(mutant, False) for mutant in informed_mutants(data, each, seed)]
            for mutant, accidental in blind + informed:
                path.write_bytes(mutant)
                found, seconds, peak = attempt(path)
                if peak > WORKSPACE:  # loops may have been compiled on the way: once more
                    found, seconds, peak = attempt(path)
                if found is None:
                    refused += 1
                elif not accidental:
                    forged += 1  # a valid file, with another shape or dtype of the same bytes
                else:
                    intact += 1
                    assert list(found) == list(expected), f"{name}: other names"
                    for key, tensor in found.items():
                        assert torch.equal(tensor, expected[key]), f"{name}: another {key}"
                most = 2 * declared(mutant) + WORKSPACE
                assert seconds < SECONDS, f"{name}: {seconds:.1f} s"
                assert peak <= most, f"{name}: {peak:,} bytes allocated, {most:,} allowed"
                slowest, hungriest = max(slowest, seconds), max(hungriest, peak / most)
    report = {
        "files": refused + intact + forged,
        "refused": refused,
        "read_as_the_original": intact,
        "read_as_forged": forged,
        "slowest_seconds": round(slowest, 3),
        "allocated_of_allowed": round(hungriest, 2),
        "resident_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(report))
    print(keep("attacks", {"seed": options.seed, **report}))


if __name__ == "__main__":
    main()
