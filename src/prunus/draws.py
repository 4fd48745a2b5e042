"""Random numbers that are the same on every machine, any stretch of them at once.

The words of a (seed, stream) are those of Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
3") with key (seed, stream) and counters from 1 on, each 64-bit word read as two of 32 bits, the low one first. What is
made of them takes operations that IEEE 754 rounds in one way only, so a network drawn here can be shipped as its seed.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus.errors import PrunusError

_BLOCK = 8  # words of a counter


def words(seed: int, stream: int, count: int, *, first: int = 0) -> NDArray[np.uint32]:
    """The words `first` to `first + count - 1`."""
    for name, value in (("seed", seed), ("stream", stream)):
        if not 0 <= value < 2**64:
            raise PrunusError(f"a {name} must be at least 0 and below 2**64, found {value}.")
    block, skipped = divmod(first, _BLOCK)
    generator = np.random.Philox(key=np.array([seed, stream], np.uint64), counter=block)
    found = generator.random_raw(-(-(skipped + count) // 2))
    return found.astype("<u8", copy=False).view("<u4")[skipped : skipped + count].astype(np.uint32, copy=False)


def uniform(
    seed: int, stream: int, shape: tuple[int, ...], low: float, high: float, *, first: int = 0
) -> Tensor:  # float32
    """Values of [low, high], the entries `first` on of an endless row: low + (high - low) * (word // 2**8) / 2**24.

    Computed in double precision and rounded once.
    """
    drawn = words(seed, stream, int(np.prod(shape)), first=first) >> np.uint32(8)
    values = low + (high - low) * (drawn.astype(np.float64) * 2.0**-24)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def signs(seed: int, stream: int, shape: tuple[int, ...], *, first: int = 0) -> Tensor:  # float32
    """+1 or -1, the entries `first` on of an endless row: -1 where the highest bit of the word is set."""
    drawn = words(seed, stream, int(np.prod(shape)), first=first) >> np.uint32(31)
    return torch.from_numpy((1.0 - 2.0 * drawn.astype(np.float32)).reshape(shape))


def hyperbolic(
    seed: int, stream: int, shape: tuple[int, ...], high: float, octaves: int, *, first: int = 0
) -> Tensor:  # float32
    """Values of either sign whose size has density proportional to 1 / size on (high / 2**octaves, high].

    The size is high * 2**-t with t = octaves * (word // 2**8) / 2**24, the sign that of the word's lowest bit, the
    fraction of t by the series of the exponential: multiplications and additions in double precision, rounded once.
    """
    drawn = words(seed, stream, int(np.prod(shape)), first=first)
    exponent = octaves * ((drawn >> np.uint32(8)).astype(np.float64) * 2.0**-24)
    whole = np.floor(exponent)
    fraction = (exponent - whole) * -0.6931471805599453  # ln 2
    power = np.ones_like(fraction)
    for order in range(18, 0, -1):
        power = 1.0 + power * fraction / order
    values = np.ldexp(high * power, -whole.astype(np.int32))
    values[(drawn & np.uint32(1)).astype(bool)] *= -1.0
    return torch.from_numpy(values.astype(np.float32).reshape(shape))
