import numpy as np
import pytest

from prunus.code.bits import Unsigned
from prunus.code.histogram import entropy
from prunus.distribution import Hyperbolic, Uniform
from prunus.errors import FormatError
from prunus.pack import Codec, Drawn, Mixed, Ranged, Raw, RelativeIndex
from prunus.pack.codec import CODECS, by_id
from prunus.pack.codec.order import change, undo
from prunus.testing import check_codec

MORE = (Drawn(Uniform(-0.5, 2.0), 5).faster(), Drawn(Hyperbolic(0.7, 9), 5).faster())


@pytest.mark.parametrize("codec", [*CODECS, *MORE], ids=lambda codec: codec.name)
def test_contract(codec: Codec) -> None:
    check_codec(codec, alterations=4)


def test_the_check_finds_broken_codecs() -> None:
    class Lossy(Raw):
        def encode(self, array: Unsigned) -> bytes:
            return super().encode(array & array.dtype.type(254))

    class Trusting(Raw):
        def decode(self, data: object, shape: tuple[int, ...], dtype: np.dtype[np.unsignedinteger]) -> Unsigned:
            return np.frombuffer(bytes(data), dtype).reshape(shape)  # type: ignore[call-overload]

    class Greedy(Raw):
        def decode(self, data: object, shape: tuple[int, ...], dtype: np.dtype[np.unsignedinteger]) -> Unsigned:
            np.zeros(1 << 24, np.uint8)
            return super().decode(data, shape, dtype)  # type: ignore[arg-type]

    with pytest.raises(AssertionError, match="decoded values differ"):
        check_codec(Lossy())
    with pytest.raises(ValueError, match=r"cannot reshape|buffer size"):
        check_codec(Trusting())
    with pytest.raises(AssertionError, match="bytes allocated"):
        check_codec(Greedy())


def test_numbers_in_the_file_are_unique_and_lead_back() -> None:
    assert [by_id(codec.id, "it") for codec in CODECS] == list(CODECS)
    with pytest.raises(FormatError, match="tensor 'it' is in an unknown codec, number 77"):
        by_id(77, "it")


@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_orders_are_one_to_one(order: int, dtype: type[np.unsignedinteger]) -> None:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, 1000, dtype, endpoint=True)
    changed = change(values, order)
    undo(changed, order)
    assert (changed == values).all()


def test_orders_put_values_in_order() -> None:
    floats = np.array([-np.inf, -2, -1e-40, -0.0, 0.0, 1e-40, 3, np.inf], np.float32)
    assert (np.diff(change(floats.view(np.uint32), 2).astype(np.int64)) > 0).all()
    integers = np.array([-128, -1, 0, 127], np.int8)
    assert (np.diff(change(integers.view(np.uint8), 3).astype(np.int64)) > 0).all()


def sparse_weights(density: float, levels: int) -> Unsigned:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (300, 400)).round(1).clip(-levels / 20, levels / 20)
    return (np.where(rng.random(values.shape) < density, values, 0).astype(np.float32) + 0).view(np.uint32)


@pytest.mark.parametrize("density", [0.02, 0.1])
def test_entropy_codecs_come_near_the_entropy_of_unstructured_weights(density: float) -> None:
    array = sparse_weights(density, 40)
    counts = np.unique(array[array != 0], return_counts=True)[1]
    places = entropy(np.array([counts.sum(), array.size - counts.sum()]))
    bound = (places + entropy(counts)) / 8
    palette = 4 * counts.size
    assert len(Mixed().encode(array)) < 1.03 * bound + palette
    assert len(Ranged().encode(array)) < 1.03 * bound + palette + 80
    assert len(RelativeIndex(huffman=True).encode(array)) < 1.1 * bound + palette + 80
    assert len(RelativeIndex(huffman=True).encode(array)) < len(RelativeIndex().encode(array))


def test_dense_weights_take_little_more_than_the_entropy_of_their_bytes() -> None:
    array = np.random.default_rng(0).normal(0, 0.05, (300, 400)).astype(np.float32).view(np.uint32)
    exponents = entropy(np.bincount(array.reshape(-1) >> 23 & 255)) / 8
    rest = array.size * 3  # a sign and 23 bits of fraction
    for codec in (Ranged(), Mixed()):
        assert len(codec.encode(array)) < 1.005 * (exponents + rest)
