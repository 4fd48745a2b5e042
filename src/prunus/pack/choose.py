"""Choosing the codec of a tensor."""

from prunus.code.bits import Unsigned
from prunus.pack.codec import Codec, Drawn, Mixed, Ranged, Raw

CANDIDATES: dict[str, tuple[Codec, ...]] = {"best": (Raw(), Ranged(), Mixed()), "fast": (Raw(), Ranged())}


def smallest(array: Unsigned, effort: str, drawn: Drawn | None = None) -> tuple[Codec, bytes]:
    """The candidate that makes the fewest bytes of `array`, and those bytes; the earlier one if equal.

    Where somebody says that it was `drawn`, that is one more candidate: it wins only if it is true.
    """
    candidates = CANDIDATES[effort]
    if drawn is not None:
        candidates += (drawn.faster() if effort == "fast" else drawn,)
    tried = ((codec, codec.encode(array)) for codec in candidates)
    return min(tried, key=lambda pair: len(pair[1]))
