"""Choosing the codec of a tensor."""

import numpy as np

from prunus.code.bits import Unsigned
from prunus.pack.codec import Codec, Drawn, Mixed, Ranged, Raw

CANDIDATES: dict[str, tuple[Codec, ...]] = {"best": (Raw(), Ranged(), Mixed()), "fast": (Raw(), Ranged())}
WORTH_A_SEED = 128  # drawn entries, whose signs alone would take more than how they were drawn


def smallest(array: Unsigned, effort: str, drawn: Drawn | None = None) -> tuple[Codec, bytes]:
    """The candidate that makes the fewest bytes of `array`, and those bytes; the earlier one if equal.

    That it was `drawn` is one more candidate, and the only one where that is so and many entries are left.
    """
    candidates = CANDIDATES[effort]
    if drawn is not None:
        drawn = drawn.faster() if effort == "fast" else drawn
        alone = np.count_nonzero(array) >= WORTH_A_SEED and drawn.explains(array)
        candidates = (drawn,) if alone else (*candidates, drawn)
    tried = ((codec, codec.encode(array)) for codec in candidates)
    return min(tried, key=lambda pair: len(pair[1]))
