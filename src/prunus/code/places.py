"""Where the kept entries of a matrix are: a mixed model of its bitmap.

Five guesses for each bit: how many entries were kept so far in all, in this inner line, in this outer line,
and two slots, one for the exact pattern of the nearest neighbours, one for how many are kept nearby.
"""

from typing import Any

import numpy as np

from prunus.code.arithmetic import READING, Coder, code_bit
from prunus.code.bits import Unsigned
from prunus.code.compiled import compiled
from prunus.code.mixing import HALF, certain, chance, clamped, learnt, mix, stretch, train
from prunus.code.neighbours import Geometry

PRIOR = 4  # a line's own count is trusted like this many entries of the matrix
WEIGHTS = np.array([-19661, 22938, 22938, 13107, 16384])  # -0.3, 0.35, 0.35, 0.2, 0.25
RATE, HASTE = 8, 800


def code_places(coder: Coder, symbols: Unsigned, geometry: Geometry) -> None:
    """Write which of the flat `symbols` are not zero, or read it, as zeros and ones."""
    _walk(*coder, symbols, geometry.scan(), geometry.near(), geometry.far(), WEIGHTS.copy())


@compiled
def _walk(state: Any, buffer: Any, symbols: Any, scan: Any, near: Any, far: Any, weights: Any) -> Any:
    outer, inner, outer_step, inner_step = scan
    reading = state[READING]
    lines = np.zeros(inner, np.int32)  # kept so far in each inner line
    patterns = np.full(1 << 8, HALF, np.int32)
    counts = np.full(1 << 12, HALF, np.int32)
    inputs = np.zeros(5, np.int64)
    seen, kept = np.int64(0), np.int64(0)
    for i in range(outer):
        line = np.int64(0)
        for j in range(inner):
            pattern, strong, weak, around = 0, 0, 0, 0
            for k in range(near.shape[0]):
                a, b = i - near[k, 0], j - near[k, 1]
                if a >= 0 and b >= 0 and symbols[a * outer_step + b * inner_step]:
                    pattern |= 1 << k
                    if near[k, 2] == 2:
                        strong += 1
                    else:
                        weak += 1
            for k in range(far.shape[0]):
                a, b = i - far[k, 0], j - far[k, 1]
                if a >= 0 and b >= 0 and symbols[a * outer_step + b * inner_step]:
                    around += 1
            overall = clamped(((kept << 16) + 26214) // (seen + 1))
            across = clamped(((np.int64(lines[j]) << 16) + PRIOR * overall) // (i + PRIOR))
            along = clamped(((line << 16) + PRIOR * overall) // (j + PRIOR))
            level = max(0, min(15, (stretch(across) + 1500) >> 7))
            count = strong << 10 | min(weak, 7) << 7 | min(around, 7) << 4 | level
            if not patterns[pattern] & 255:
                patterns[pattern] = certain(overall)
            if not counts[count] & 255:
                counts[count] = certain(across)
            inputs[0], inputs[1], inputs[2] = stretch(overall), stretch(across), stretch(along)
            inputs[3], inputs[4] = stretch(chance(patterns[pattern])), stretch(chance(counts[count]))
            p = mix(weights, inputs)
            at = i * outer_step + j * inner_step
            bit = code_bit(state, buffer, np.int64(symbols[at] != 0), p)
            if reading:
                symbols[at] = bit
            train(weights, inputs, p, bit, RATE + HASTE // (seen + 32))
            patterns[pattern] = learnt(patterns[pattern], bit, 255)
            counts[count] = learnt(counts[count], bit, 255)
            lines[j] += bit
            line += bit
            kept += bit
            seen += 1
