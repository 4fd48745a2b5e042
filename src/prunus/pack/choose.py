"""Choosing the codec of a tensor."""

from prunus.code.bits import Unsigned
from prunus.pack.codec import Codec, Mixed, Ranged, Raw

CANDIDATES: dict[str, tuple[Codec, ...]] = {"best": (Raw(), Ranged(), Mixed()), "fast": (Raw(), Ranged())}


def smallest(array: Unsigned, effort: str) -> tuple[Codec, bytes]:
    """The candidate that makes the fewest bytes of `array`, and those bytes; the earlier one if equal."""
    tried = ((codec, codec.encode(array)) for codec in CANDIDATES[effort])
    return min(tried, key=lambda pair: len(pair[1]))
