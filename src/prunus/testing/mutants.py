"""Damaged copies of a file, for testing readers: each must be refused or read as the original."""

from collections.abc import Iterator

import numpy as np


def mutants(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` copies of `data`: bits flipped, bytes overwritten, parts cut out, doubled, moved or replaced.

    >>> len(list(mutants(b"some bytes", 5)))
    5
    """
    rng = np.random.default_rng(seed)
    for _ in range(count if data else 0):
        # Half of all damage is done near the front, where headers are.
        reach = len(data) if rng.random() < 0.5 else min(len(data), 300)
        start = int(rng.integers(reach))
        length = int(rng.integers(1, 1 + min(len(data) - start, int(rng.choice([1, 2, 4, 16, 1000])))))
        part, rest = data[start : start + length], data[start + length :]
        match rng.integers(7):
            case 0:
                part = bytes([part[0] ^ 1 << int(rng.integers(8))]) + part[1:]
            case 1:
                part = rng.bytes(length)
            case 2:
                part = bytes([int(rng.choice([0, 1, 127, 128, 255]))]) * length
            case 3:
                part = b""
            case 4:
                part, rest = b"", b""
            case 5:
                part += part
            case 6:
                part, rest = rest[:length], part + rest[length:]
        yield data[:start] + part + rest
