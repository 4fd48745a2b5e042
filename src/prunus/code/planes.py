"""The lower bytes of values whose highest byte is known: modelled where they have structure, else as they are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.code.arithmetic import READING, Coder, code_bit, code_number
from prunus.code.compiled import compiled
from prunus.code.mixing import HALF, chance, learnt


def code_planes(coder: Coder, values: NDArray[np.uint8], modelled: int) -> None:
    """Write the bytes of each value but its first, or read them into `values` (n, bytes, the highest first).

    Bit p of `modelled` says that byte p has a model: a slot for each of its bits, by the bits before it and the
    byte above it. (Mixing in more contexts changes dense weights by less than one part in 10,000.)
    """
    slots = np.full((values.shape[1] if modelled else 0, 1 << 16), HALF, np.int32)
    _walk(*coder, values, modelled, slots)


@compiled
def _walk(state: Any, buffer: Any, values: Any, modelled: Any, slots: Any) -> Any:
    reading = state[READING]
    for i in range(values.shape[0]):
        for plane in range(1, values.shape[1]):
            value = np.int64(values[i, plane])
            if (modelled >> plane) & 1:
                above = np.int64(values[i, plane - 1]) << 8
                node = np.int64(1)
                for shift in range(7, -1, -1):
                    slot = slots[plane, above | node]
                    bit = code_bit(state, buffer, (value >> shift) & 1, chance(slot))
                    slots[plane, above | node] = learnt(slot, bit, 255)
                    node = node << 1 | bit
                value = node & 255
            else:
                value = code_number(state, buffer, value, 8)
            if reading:
                values[i, plane] = value
