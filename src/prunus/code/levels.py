"""What the kept entries of a matrix are: a mixed model of small integers whose order means something.

A symbol below `levels` is coded as the bits of a binary number, the highest first, each bit under seven slots
for the bits before it: alone, and together with what is known of its surroundings. All places are known by
now, so the surroundings count entries ahead as well as behind.
"""

from typing import Any

import numpy as np

from prunus.code.arithmetic import READING, Coder, code_bit
from prunus.code.bits import Unsigned, width
from prunus.code.compiled import compiled
from prunus.code.mixing import HALF, chance, learnt, mix, stretch, train
from prunus.code.neighbours import Geometry

MODELS = 7
WEIGHT = 9830  # 0.15 for each slot to begin with
RATE, HASTE = 14, 800


def code_levels(coder: Coder, symbols: Unsigned, levels: int, first: int, geometry: Geometry) -> None:
    """Write the flat `symbols`, or read them into it: `first` + a level each; below `first`: not kept, not coded."""
    bits = width(levels - 1)
    slots = np.full((MODELS, 16 << bits), HALF, np.int32)
    weights = np.full(MODELS, WEIGHT, np.int64)
    near, alike = geometry.near(), geometry.alike()
    _walk(*coder, symbols, levels, bits, first, geometry.scan(), near[near[:, 2] == 2], alike, slots, weights)


@compiled
def _bit_length(value: Any) -> Any:
    """Bits of a count, at most 15."""
    length = 0
    while value > 0 and length < 15:
        value >>= 1
        length += 1
    return length


@compiled
def _walk(
    state: Any,
    buffer: Any,
    symbols: Any,
    levels: Any,
    bits: Any,
    first: Any,
    scan: Any,
    near: Any,
    alike: Any,
    slots: Any,
    weights: Any,
) -> Any:
    outer, inner, outer_step, inner_step = scan
    reading = state[READING]
    lines = np.zeros(inner, np.int32)  # kept in each inner line
    for i in range(outer):
        for j in range(inner):
            lines[j] += symbols[i * outer_step + j * inner_step] >= first
    inputs = np.zeros(MODELS, np.int64)
    places = np.zeros(MODELS, np.int64)
    seen = np.int64(0)
    for i in range(outer):
        line = np.int64(0)
        for j in range(inner):
            line += symbols[i * outer_step + j * inner_step] >= first
        for j in range(inner):
            at = i * outer_step + j * inner_step
            if symbols[at] < first:
                continue
            around = 0
            for k in range(near.shape[0]):
                a, b = i - near[k, 0], j - near[k, 1]
                if a >= 0 and b >= 0 and symbols[a * outer_step + b * inner_step] >= first:
                    around += 1
                a, b = i + near[k, 0], j + near[k, 1]
                if a < outer and b < inner and symbols[a * outer_step + b * inner_step] >= first:
                    around += 1
            nearest, total, weight = 0, np.int64(0), np.int64(0)
            for k in range(alike.shape[0]):
                a, b = i - alike[k, 0], j - alike[k, 1]
                if a >= 0 and b >= 0 and symbols[a * outer_step + b * inner_step] >= first:
                    other = np.int64(symbols[a * outer_step + b * inner_step]) - first
                    if not weight:
                        nearest = 1 + other * 14 // levels
                    total += alike[k, 2] * ((2 * other + 1 - levels) * 8 // levels)
                    weight += alike[k, 2]
            places[1] = min(around, 15)
            places[2] = _bit_length(np.int64(lines[j]))
            places[3] = _bit_length(line)
            places[4] = nearest
            places[5] = 1 + max(np.int64(0), min(np.int64(14), total // weight + 7)) if weight else 0
            places[6] = 1 + max(np.int64(0), min(np.int64(14), (total >> 2) + 7)) if weight else 0
            symbol = np.int64(symbols[at]) - first
            node = np.int64(1)
            for shift in range(bits - 1, -1, -1):
                if (((node << 1) | 1) << shift) - (1 << bits) >= levels:
                    node <<= 1  # no level has a 1 here
                    continue
                for k in range(MODELS):
                    slot = slots[k, places[k] << bits | node]
                    if not slot & 255:
                        slot = slots[0, node] >> 8 << 8
                        slots[k, places[k] << bits | node] = slot
                    inputs[k] = stretch(chance(slot))
                p = mix(weights, inputs)
                bit = code_bit(state, buffer, (symbol >> shift) & 1, p)
                train(weights, inputs, p, bit, RATE + HASTE // (seen + 32))
                for k in range(MODELS):
                    place = places[k] << bits | node
                    slots[k, place] = learnt(slots[k, place], bit, 255)
                node = (node << 1) | bit
                seen += 1
            if reading:
                symbols[at] = first + node - (1 << bits)
