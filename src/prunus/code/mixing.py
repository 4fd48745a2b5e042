"""Context mixing: many small adaptive models guess each bit, and a network of one neuron weighs their guesses.

Everything is in integers, so that the same file decodes to the same bits on every machine. A probability p is
1 to 65535, of 2**16. `stretch` is ln(p / (1 - p)) in steps of 1/256, `squash` its inverse. A *slot* is one
adaptive probability: 22 bits of it above 8 bits that count how often it was updated, up to a limit; the rate
of adaptation is 1 / (count + 1.5).
Source: Mahoney, Adaptive Weighing of Context Models for Lossless Data Compression (2005), the PAQ family.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.code.compiled import compiled

END = 2815  # 11 in steps of 1/256: beyond, a probability of 16 bits has no room
HALF = 1 << 29  # the slot that knows nothing: p = 1/2, count 0


def _logistic() -> NDArray[np.int64]:
    """2**32 / (1 + e**(-x / 256)) for x = -END..END, by repeated multiplication with e**(-1/256) in 60 bits."""
    step, power = 1148426689630428643, 1 << 60  # e**(-1/256) * 2**60
    upper = []
    for _ in range(END + 1):
        upper.append((1 << 92) // ((1 << 60) + power))
        power = power * step >> 60
    positive = np.array(upper, np.int64)
    return np.concatenate([(1 << 32) - positive[:0:-1], positive])


_LOGISTIC = _logistic()
SQUASH = ((_LOGISTIC + (1 << 15)) >> 16).clip(1, 65535).astype(np.int32)
_STRETCH = (np.searchsorted(_LOGISTIC, np.arange(65536) << 16).clip(0, 2 * END) - END).astype(np.int32)
FINE = _STRETCH[:4096].copy()  # stretch(p) for p below 2**12
COARSE = _STRETCH[::16].copy()  # stretch(16 p)
RATES = np.array([(2 << 16) // (2 * n + 3) for n in range(256)], np.int32)


@compiled
def squash(x: Any) -> Any:
    """The probability of log-odds `x` / 256."""
    return np.int64(SQUASH[max(-END, min(END, x)) + END])


@compiled
def stretch(p: Any) -> Any:
    """The log-odds of `p` / 2**16, in steps of 1/256."""
    if p < 4096:
        return np.int64(FINE[p])
    if p > 61440:
        return -np.int64(FINE[65536 - p])
    return np.int64(COARSE[p >> 4])


@compiled
def chance(slot: Any) -> Any:
    """The probability that a slot holds, 1..65535."""
    return max(np.int64(1), min(np.int64(65535), np.int64(slot) >> 14))


@compiled
def learnt(slot: Any, bit: Any, limit: Any) -> Any:
    """The slot after it has seen `bit`; its count stops at `limit`."""
    p, count = np.int64(slot) >> 8, np.int64(slot) & 255
    p += ((bit << 22) - bit - p) * np.int64(RATES[count]) >> 16
    return p << 8 | min(count + 1, limit)


@compiled
def clamped(p: Any) -> Any:
    """`p` as a probability, 1..65535."""
    return max(np.int64(1), min(np.int64(65535), p))


@compiled
def certain(p: Any) -> Any:
    """A slot that holds the probability `p` and has seen nothing."""
    return p << 14


@compiled
def mix(weights: Any, inputs: Any) -> Any:
    """The probability that the weighted sum of stretched `inputs` gives; weights are in 2**-16."""
    total = np.int64(0)
    for k in range(inputs.size):
        total += weights[k] * inputs[k]
    return clamped(squash(total >> 16))


@compiled
def train(weights: Any, inputs: Any, p: Any, bit: Any, rate: Any) -> Any:
    """Move `weights` down the gradient of the cost of `bit`, which `mix` had given the probability `p`."""
    error = ((bit << 16) - p) * rate
    for k in range(inputs.size):
        weights[k] += (inputs[k] * error + (1 << 19)) >> 20
