"""`check_codec`: what `prunus.pack` relies on in a codec."""

import tracemalloc
from collections.abc import Iterator

import numpy as np

from prunus.code.bits import Unsigned
from prunus.errors import FormatError
from prunus.pack.codec import Codec
from prunus.testing.mutants import mutants

WORKSPACE = 8 << 20  # bytes for tables, whatever the size of the array


def check_codec(codec: Codec, seed: int = 0, alterations: int = 20) -> None:
    """Hold `codec` to its contract on arrays of all widths, from a single zero to noise, and on altered streams.

    What was encoded comes back bit for bit, encoding twice gives the same bytes, and the array is left as it
    was. A stream that was cut or altered raises FormatError or gives an array of the declared shape and dtype,
    in at most twice its memory and a fixed workspace.
    """
    assert isinstance(codec.name, str), f"the name of a codec is {codec.name!r}, not a string"
    assert isinstance(codec.id, int), f"the id of a codec is {codec.id!r}, not an integer"
    rng = np.random.default_rng(seed)
    for what, array in _arrays(rng):
        before = array.copy()
        data = codec.encode(array)
        assert isinstance(data, bytes), f"{what}: encode gives {type(data).__name__}, not bytes"
        assert (array == before).all(), f"{what}: encode changed the array"
        assert codec.encode(array) == data, f"{what}: encoding twice gives different bytes"
        decoded = codec.decode(bytearray(data), array.shape, array.dtype)
        _check_form(what, decoded, array)
        assert (decoded == array).all(), f"{what}: decoded values differ"
        for altered in [b"", data[:-1], data + b"\0", *mutants(data, alterations, seed)]:
            tracemalloc.start()
            try:
                _check_form(f"{what}, altered", codec.decode(bytearray(altered), array.shape, array.dtype), array)
            except FormatError:
                pass
            finally:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            most = 2 * array.nbytes + len(altered) + WORKSPACE
            assert peak <= most, f"{what}, altered: {peak:,} bytes allocated for an array of {array.nbytes:,}"


def _check_form(what: str, decoded: Unsigned, array: Unsigned) -> None:
    found, expected = (decoded.shape, decoded.dtype), (array.shape, array.dtype)
    assert found == expected, f"{what}: decoded as {found}, expected {expected}"


def _arrays(rng: np.random.Generator) -> Iterator[tuple[str, Unsigned]]:
    """Arrays that codecs have been known to get wrong."""
    for bits in (8, 16, 32, 64):
        dtype = np.dtype(f"u{bits // 8}")
        top = int(np.iinfo(dtype).max)
        for shape in ((), (1,), (1, 1), (300,), (1, 40), (40, 1), (6, 5), (4, 3, 3, 3), (2, 3, 4)):
            noise = rng.integers(0, top, shape, dtype, endpoint=True)
            few = rng.choice(np.array([0, 1, top, top // 2, top // 3 + 1], dtype), shape)
            sparse = np.where(rng.random(shape) < 0.1, noise, 0).astype(dtype)
            last = np.zeros(shape, dtype)
            last.reshape(-1)[-1] = top
            for kind, array in {
                "zeros": np.zeros(shape, dtype),
                "the largest value": np.full(shape, top, dtype),
                "noise": noise,
                "few values": few,
                "few values, sparse": np.where(rng.random(shape) < 0.1, few, 0).astype(dtype),
                "sparse noise": sparse,
                "only the last entry": last,
                "ascending": np.arange(noise.size, dtype=np.uint64).astype(dtype).reshape(shape),
            }.items():
                yield f"{kind}, {dtype}, shape {shape}", array
    weights = rng.normal(0, 0.05, (60, 70)).astype(np.float32)
    yield "float32 weights", weights.view(np.uint32)
    yield "pruned float32 weights", (weights * (abs(weights) > 0.1) + np.float32(0)).view(np.uint32)
    yield "float16 weights", weights.astype(np.float16).view(np.uint16)
