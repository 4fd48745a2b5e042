"""Files written by earlier versions of prunus: they are read for ever, and today's writer still makes them.

`python tests/golden/test_golden.py` writes the files that are missing. Never change one that was released: an
encoder that learnt to do better gets a new file, and `WRITTEN_TODAY` names the newest of each.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from prunus import pack
from prunus.distribution import Hyperbolic, SignedConstant, Uniform

HERE = Path(__file__).parent
CODECS = {
    "raw": pack.Raw(),
    "relative-index": pack.RelativeIndex(bits=5),
    "relative-index-huffman": pack.RelativeIndex(bits=5, huffman=True),
    "range": pack.Ranged(),
    "mixing": pack.Mixed(),
    "drawn": pack.Drawn(SignedConstant(0.1), seed=7, stream=3),  # half of what is +-0.1 among the tensors
}
DRAWN = {  # the distributions that came later, in a file of its own
    "uniform": pack.Drawn(Uniform(-0.3, 0.7), 7, 3),
    "hyperbolic": pack.Drawn(Hyperbolic(0.7, 9), 7, 4),
}
DISTRIBUTIONS = "1-drawn-distributions"
WRITTEN_TODAY = [*(f"1-{codec}" for codec in CODECS), DISTRIBUTIONS]
# sha256 over name, dtype, shape and bytes of every tensor
DECODED = "5569b41f16b24331845a57704df649ef94f8de222af66576d9ac606e7e879d95"
DECODED_DISTRIBUTIONS = "6611a64e9f301efe9a874bab1de6366fb99117c7871f4610e5b14b75eff29202"


def pseudorandom(count: int) -> np.ndarray:
    """The same 32-bit integers on every machine and in every version of every library."""
    state, numbers = 1, []
    for _ in range(count):
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        numbers.append(state >> 32)
    return np.array(numbers, np.uint32)


def tensors() -> dict[str, torch.Tensor]:
    """A small tensor of each kind that the format tells apart."""
    numbers = pseudorandom(4000)
    magnitudes = 0x3D000000 - (numbers[::-1] % (1 << 26)) // (1 + numbers % 7)
    dense = (magnitudes | numbers >> 31 << 31).astype(np.uint32)
    kept = numbers[::-1] % 9 == 0
    levels = np.array([0xBE99999A, 0xBDCCCCCD, 0x3DCCCCCD, 0x3E4CCCCD, 0x3E99999A], np.uint32)
    y, x = np.mgrid[:28, :28] - 13
    centre = numbers[:5, None, None].astype(np.int64) % 9 - 4
    disc = ((y - centre) ** 2 + (x + centre) ** 2 < 30).reshape(-1)  # five images, as in a layer that reads MNIST
    signs = (np.repeat(centre, 28, 1) + x < 0).reshape(-1).astype(np.uint32) << 31
    image = np.where(disc & (numbers[:3920] % 4 > 0), dense[:3920] & 0x7FFFFFFF | signs, 0).astype(np.uint32)
    kernel = np.tile(np.array([0, 9, 0, 9, 9, 0, 0, 1, 0]), 400) * 7  # kernels of one shape
    quantised = np.where(numbers[:3600] % 64 < kernel, levels[numbers[:3600] % 5], 0).astype(np.uint32)
    return {
        "dense": torch.from_numpy(dense.reshape(40, 100).view(np.float32)),
        "pruned": torch.from_numpy(image.reshape(5, 784).view(np.float32)),
        "quantised": torch.from_numpy(quantised.reshape(20, 20, 3, 3).view(np.float32)),
        "unpruned": torch.from_numpy(np.where(numbers % 50 > 0, dense, 0).astype(np.uint32).view(np.float32)),
        "exact.bfloat16": torch.from_numpy((dense[:500] & 0xFFFF0000).view(np.float32)),
        "exact.float16": torch.from_numpy((dense[:500] & 0xFFFFE000).view(np.float32)),
        "bfloat16": torch.from_numpy((dense >> 16).astype(np.int16)).view(torch.bfloat16),
        "mask": torch.from_numpy(kept.copy()),
        "mask.again": torch.from_numpy(kept.copy()),
        "int8": torch.from_numpy((numbers[:700] % 17).astype(np.int8) - 8),
        "int64": torch.from_numpy(np.arange(300, dtype=np.int64) ** 3),
        "special": torch.from_numpy(
            np.array([0, 1 << 31, 0x7F800000, 0xFF800000, 0x7F800001, 0xFFFFFFFF, 1], np.uint32).view(np.float32)
        ),
        "scalar": torch.tensor(7, dtype=torch.int16),
        "empty": torch.empty(0, 3, dtype=torch.float64),
    }


def drawn_tensors() -> dict[str, torch.Tensor]:
    """Drawn, with most entries zero and one that was changed."""
    kept = torch.from_numpy((pseudorandom(4000) % 9 == 0).reshape(40, 100))
    found = {name: torch.where(kept, one.values((40, 100)), 0) for name, one in DRAWN.items()}
    found["uniform"][3, 5] = 1.5
    return found


def digest(found: dict[str, torch.Tensor]) -> str:
    total = hashlib.sha256()
    for name, tensor in found.items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        if tensor.numel():
            total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def write(path: Path, name: str) -> None:
    if name == DISTRIBUTIONS:
        some, codecs = drawn_tensors(), DRAWN
    else:
        some = tensors()
        codecs = dict.fromkeys(some, CODECS[name.removeprefix("1-")])
    pack.write(path, some, codecs=codecs, model="lenet-300-100", metadata={"format": "pt"})


@pytest.mark.parametrize("path", sorted(HERE.glob("*.prunus")), ids=lambda path: path.stem)
def test_every_file_ever_written_is_read(path: Path) -> None:
    assert digest(pack.read(path)) == (DECODED_DISTRIBUTIONS if path.stem == DISTRIBUTIONS else DECODED)
    assert pack.peek(path) == pack.Label(1, "lenet-300-100", {"format": "pt"})


@pytest.mark.parametrize("name", WRITTEN_TODAY)
def test_todays_bytes(name: str, tmp_path: Path) -> None:
    write(tmp_path / "a.prunus", name)
    assert (tmp_path / "a.prunus").read_bytes() == (HERE / f"{name}.prunus").read_bytes()


def test_the_tensors_are_those_that_were_written() -> None:
    assert digest(tensors()) == DECODED
    assert digest(drawn_tensors()) == DECODED_DISTRIBUTIONS


if __name__ == "__main__":
    for name in WRITTEN_TODAY:
        if not (HERE / f"{name}.prunus").exists():
            write(HERE / f"{name}.prunus", name)
    print(digest(tensors()), digest(drawn_tensors()))
