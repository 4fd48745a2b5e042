import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from prunus import pack
from prunus.distribution import SignedConstant, Symmetric
from prunus.errors import PrunusError
from prunus.pack.elements import ELEMENTS, to_integers, to_tensor, widen

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf")  # torch says so of every complex32

DTYPES = sorted({element.dtype for element in ELEMENTS if hasattr(torch, element.dtype)})
CODECS = {
    "raw": pack.Raw(),
    "relative": pack.RelativeIndex(),
    "relative, 5 bits, no codebook": pack.RelativeIndex(bits=5, codebook=False),
    "relative, codebook, transposed": pack.RelativeIndex(codebook=True, transposed=True),
    "huffman": pack.RelativeIndex(huffman=True),
    "range": pack.Ranged(),
    "mixing": pack.Mixed(),
    "drawn": pack.Drawn(SignedConstant(0.1), seed=1),
    "drawn, uniform, quick": pack.Drawn(Symmetric(1.0), 2, 3).faster(),
}


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors have the same dtype, shape and bits."""

    def bits(tensor: torch.Tensor) -> bytes:
        return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""

    return a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)


def from_bytes(dtype: str, data: bytes, shape: tuple[int, ...]) -> torch.Tensor:
    data = bytes(byte & 1 for byte in data) if dtype == "bool" else data
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(getattr(torch, dtype)).reshape(shape)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Tensors of any dtype whose entries are any bits at all, many of them zero or alike."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(0, 6), max_size=4)))
    size, count = getattr(torch, dtype).itemsize, math.prod(shape)
    if not count:
        return torch.empty(shape, dtype=getattr(torch, dtype))
    entry = st.one_of(st.just(bytes(size)), st.binary(min_size=size, max_size=size))
    few = draw(st.lists(entry, min_size=1, max_size=5))
    entries = draw(st.lists(st.one_of(st.sampled_from(few), entry), min_size=count, max_size=count))
    return from_bytes(dtype, b"".join(entries), shape)


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=40)
@given(tensor=tensors())
def test_any_bits_come_back(codec: str, tensor: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.prunus"
    written = pack.write(path, {"it": tensor}, codecs={"it": CODECS[codec]})
    assert same(pack.read(path)["it"], tensor)
    assert pack.inspect(path) == written


@pytest.mark.parametrize("effort", ["fast", "best"])
@settings(max_examples=40)
@given(several=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), tensors(), max_size=4))
def test_any_tensors_under_any_names_come_back_in_order(
    effort: str, several: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "several.prunus"
    written = pack.write(path, several, effort=effort)  # type: ignore[arg-type]
    found = pack.read(path)
    assert list(found) == list(several)
    assert all(same(found[name], several[name]) for name in several)
    assert written.file_bytes == path.stat().st_size
    assert written.overhead_bytes + sum(t.bytes for t in written.tensors) == written.file_bytes


SPECIAL = {
    "float32": [0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF, 1, 0x807FFFFF],
    "float16": [0x0000, 0x8000, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFFFF, 1, 0x83FF],
    "bfloat16": [0x0000, 0x8000, 0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0xFFFF, 1, 0x807F],
    "float64": [0, 1 << 63, 0x7FF << 52, 0xFFF << 52, 0x7FF8 << 48, (0x7FF << 52) + 1, (1 << 64) - 1, 1, (1 << 52) - 1],
}


@pytest.mark.parametrize("dtype", SPECIAL)
@pytest.mark.parametrize("codec", CODECS)
def test_zeros_infinities_and_nan_payloads_come_back(codec: str, dtype: str, tmp_path: Path) -> None:
    size = getattr(torch, dtype).itemsize
    data = b"".join(pattern.to_bytes(size, "little") for pattern in SPECIAL[dtype] * 5)
    tensor = from_bytes(dtype, data, (3, 15))
    pack.write(tmp_path / "a.prunus", {"it": tensor}, codecs={"it": CODECS[codec]})
    assert same(pack.read(tmp_path / "a.prunus")["it"], tensor)


def test_every_float16_and_bfloat16_comes_back_as_the_float32_it_is(tmp_path: Path) -> None:
    """Also those whose widening is up to the machine: NaNs that signal, and their payloads."""
    patterns = np.arange(1 << 16, dtype=np.uint32)
    brain = torch.from_numpy((patterns << 16).view(np.float32))
    half = torch.from_numpy(patterns.astype(np.uint16).view(np.float16))
    numbers = half[~half.isnan()]
    for tensor, narrow in ((brain, "bfloat16"), (numbers.float(), "float16"), (torch.tensor([0.1]), "")):
        element, stored, exact = to_integers("it", tensor)
        assert element.narrow == narrow
        assert stored.itemsize == (2 if narrow else 4)
        assert same(to_tensor(element, widen(element, stored), tuple(tensor.shape)), tensor)
        assert (exact == tensor.numpy().view(np.uint32)).all()
    contents = pack.write(tmp_path / "a.prunus", {"it": numbers.float()})
    assert contents.tensors[0].bytes < 2.01 * numbers.numel()


def test_layouts_in_memory_do_not_matter(tmp_path: Path) -> None:
    weight = torch.randn(8, 4, 3, 3)
    several = {
        "transposed": torch.randn(5, 7).T,
        "channels_last": weight.to(memory_format=torch.channels_last),
        "strided": torch.randn(10, 10)[::2, 1::3],
        "expanded": torch.randn(4, 1).expand(4, 6),
        "conjugate": torch.randn(3, 3, dtype=torch.complex64).conj(),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }
    pack.write(tmp_path / "a.prunus", several)
    found = pack.read(tmp_path / "a.prunus")
    assert all(same(found[name], tensor.detach().resolve_conj()) for name, tensor in several.items())


def test_equal_tensors_are_stored_once_and_read_apart(tmp_path: Path) -> None:
    weight = torch.randn(100, 100)
    several = {"a": weight, "b": weight, "c": weight.clone(), "other shape": weight.reshape(-1), "d": weight + 1}
    contents = pack.write(tmp_path / "a.prunus", several)
    assert [t.codec == "same" for t in contents.tensors] == [False, True, True, False, False]
    assert all(t.bytes == 1 for t in contents.tensors[1:3])
    found = pack.read(tmp_path / "a.prunus")
    assert all(same(found[name], several[name]) for name in several)
    found["a"].zero_()
    assert same(found["b"], weight)


def test_it_is_a_safetensors_file(tmp_path: Path) -> None:
    contents = pack.write(tmp_path / "a.safetensors", {"weight": torch.randn(30, 30)})
    tensors = load_file(tmp_path / "a.safetensors")
    assert list(tensors) == ["prunus"]
    assert tensors["prunus"].dtype == torch.uint8
    assert contents.file_bytes - tensors["prunus"].numel() < 110


def test_label(tmp_path: Path) -> None:
    metadata = {"format": "pt", "licence": "Apache-2.0", "größe": "größer"}
    written = pack.write(tmp_path / "a.prunus", {}, model="lenet-300-100", metadata=metadata)
    assert pack.peek(tmp_path / "a.prunus") == written.label == pack.Label(1, "lenet-300-100", metadata)
    assert pack.write(tmp_path / "a.prunus", {}).label == pack.Label(1, None, {})


def test_what_cannot_be_written_is_refused_by_name_and_nothing_is_left(tmp_path: Path) -> None:
    good = torch.ones(2)
    for tensors, message in (
        ({"sparse": torch.eye(3).to_sparse()}, "sparse: "),
        ({"nowhere": torch.empty(3, device="meta")}, "nowhere: "),
        ({"\ud800": good}, "not valid Unicode"),
    ):
        with pytest.raises(PrunusError, match=message):
            pack.write(tmp_path / "a.prunus", tensors)
    with pytest.raises(PrunusError, match="unknown effort 'bset'"):
        pack.write(tmp_path / "a.prunus", {"a": good}, effort="bset")  # type: ignore[arg-type]
    with pytest.raises(PrunusError, match=r"tensor in codecs 'fc\.wieght', did you mean 'fc\.weight'"):
        pack.write(tmp_path / "a.prunus", {"fc.weight": good}, codecs={"fc.wieght": pack.Raw()})
    assert list(tmp_path.iterdir()) == []


def test_the_same_tensors_make_the_same_bytes(tmp_path: Path) -> None:
    several = {"a": torch.randn(50, 60), "b": torch.randint(0, 5, (40, 40))}
    for name in ("1.prunus", "2.prunus"):
        pack.write(tmp_path / name, several)
    assert (tmp_path / "1.prunus").read_bytes() == (tmp_path / "2.prunus").read_bytes()


def test_a_stream_gives_what_reading_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    few = torch.randn(30, 20) * (torch.rand(30, 20) < 0.2)
    tensors = {"a": torch.randn(7), "b": few, "c": torch.arange(5), "d": few.clone(), "e": torch.zeros(0, 3)}
    tensors |= {"f": tensors["a"].clone(), "g": torch.randn(2, 2).half()}
    pack.write(tmp_path / "a.prunus", tensors)
    whole = pack.read(tmp_path / "a.prunus")
    streamed = dict(pack.stream(tmp_path / "a.prunus"))
    outlines = pack.outlines(tmp_path / "a.prunus")
    assert list(streamed) == list(outlines) == list(whole) == list(tensors)
    for name, tensor in whole.items():
        assert torch.equal(streamed[name], tensor)
        assert streamed[name].dtype == tensor.dtype
        assert (outlines[name].shape, outlines[name].dtype) == (tensor.shape, tensor.dtype)
    assert streamed["d"].data_ptr() != streamed["b"].data_ptr()
