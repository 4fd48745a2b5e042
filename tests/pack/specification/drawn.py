"""Section 10 of docs/format.md."""

import struct
from collections.abc import Iterator

LOW = 2**64 - 1


def words(seed: int, stream: int) -> Iterator[int]:
    counter = 0
    while counter := counter + 1:
        a, b, c, d, k, l = counter, 0, 0, 0, seed, stream  # noqa: E741
        for _ in range(10):
            left, right = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
            a, b, c, d = right >> 64 ^ b ^ k, right & LOW, left >> 64 ^ d ^ l, left & LOW
            k, l = k + 0x9E3779B97F4A7C15 & LOW, l + 0xBB67AE8584CAA73B & LOW  # noqa: E741
        for word in (a, b, c, d):
            yield word & 0xFFFFFFFF
            yield word >> 32


def drawn_integers(kind: int, seed: int, stream: int, scale: float, count: int, width: int) -> list[int]:
    found = []
    for word, _ in zip(words(seed, stream), range(count), strict=False):
        constant = -scale if word >> 31 else scale
        value = scale + (-2 * scale) * ((word >> 8) / 2**24) if kind else constant
        found.append(int.from_bytes(struct.pack("<f", value), "little") >> max(0, 32 - 8 * width))
    return found
