"""Section 10 of docs/format.md."""

import struct
from collections.abc import Iterator
from math import floor, ldexp

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


def hyperbolic(word: int, high: float, octaves: int) -> float:
    t = octaves * ((word >> 8) / 2**24)
    n = floor(t)
    (ln_2,) = struct.unpack(">d", bytes.fromhex("3FE62E42FEFA39EF"))
    x, p = (t - n) * -ln_2, 1.0
    for k in range(18, 0, -1):
        p = 1 + (p * x) / k
    value = ldexp(high * p, -n)
    return -value if word & 1 else value


def drawn_integers(kind: int, seed: int, stream: int, a: float, b: float, count: int, width: int) -> list[int]:
    """`a` and `b` are the parameters: scale, low and high, or high and octaves."""
    found = []
    for word, _ in zip(words(seed, stream), range(count), strict=False):
        if kind == 0:
            value = -a if word >> 31 else a
        elif kind == 1:
            value = a + (-2 * a) * ((word >> 8) / 2**24)
        elif kind == 2:
            value = a + (b - a) * ((word >> 8) / 2**24)
        else:
            value = hyperbolic(word, a, int(b))
        found.append(int.from_bytes(struct.pack("<f", value), "little") >> max(0, 32 - 8 * width))
    return found
