"""2:4 layers: which masks and weights they are of, and what is missing where there is no GPU for them."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.sparse import SparseSemiStructuredTensorCUSPARSELT, SparseSemiStructuredTensorCUTLASS

from prunus import prune, score
from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.scope import n_of_m
from prunus.sparse import to_semi_structured
from prunus.sparse.semi_structured import MULTIPLES, is_two_of_four, unfit


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def two_of_four(weight: Tensor) -> Tensor:
    return prune({"w": weight.float()}, score.magnitude, 0.5, scope=n_of_m(2, 4))["w"]


def test_every_group_of_four_counts() -> None:
    groups = [torch.tensor(bits, dtype=torch.bool) for bits in product((0, 1), repeat=4)]
    for one, other in product(groups, repeat=2):
        kept = torch.stack([torch.cat([one, other]), torch.cat([other, one])])
        assert is_two_of_four(kept) == (sum(one.tolist()) <= 2 and sum(other.tolist()) <= 2)
    assert is_two_of_four(two_of_four(torch.randn(8, 32)))
    assert not is_two_of_four(two_of_four(torch.randn(32, 8)).t())  # along inputs, not outputs
    assert not is_two_of_four(torch.zeros(3, 6, dtype=torch.bool))


@pytest.mark.parametrize("dtype", MULTIPLES)
def test_sizes_are_those_that_torch_demands(dtype: torch.dtype) -> None:
    rows, columns = MULTIPLES[dtype]
    for way in (SparseSemiStructuredTensorCUTLASS, SparseSemiStructuredTensorCUSPARSELT):
        demanded = way._DTYPE_SHAPE_CONSTRAINTS[dtype]
        assert rows % demanded.sparse_min_rows == columns % demanded.sparse_min_cols == 0


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((32, 64), torch.float16, ""),
        ((96, 128), torch.bfloat16, ""),
        ((32, 64), torch.float32, "of torch.float32, where float16 or bfloat16 can be"),
        ((30, 64), torch.float16, "of (30, 64), where multiples of (32, 64) can be"),
        ((32, 96), torch.float16, "of (32, 96), where multiples of (32, 64) can be"),
        ((0, 64), torch.float16, "of (0, 64), where multiples"),
        ((32, 64, 1, 1), torch.float16, "no linear layer"),
    ],
)
def test_which_weights_can_be_converted(shape: tuple[int, ...], dtype: torch.dtype, words: str) -> None:
    weight = torch.randn(shape, dtype=dtype)
    reason = unfit(weight, two_of_four(weight) if weight.ndim == 2 else torch.ones(shape, dtype=torch.bool))
    assert reason.startswith(words)
    assert bool(reason) == bool(words)
    if weight.ndim == 2 and weight.numel():
        assert unfit(weight, torch.ones(shape, dtype=torch.bool)) == "of which more than 2 of 4 are kept"


def test_without_a_gpu_one_sentence_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = perceptron()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    mask = prune(model, score.magnitude, 0.5, scope=n_of_m(2, 4))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        PrunusError, match=r"need a CUDA GPU of compute capability 8\.0 or above, and torch .* finds no"
    ):
        to_semi_structured(model, mask)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(PrunusError, match="found weights on cpu"):
        to_semi_structured(model, mask)
    with pytest.raises(PrunusError, match=r"9\.weight is not a parameter of Sequential"):
        to_semi_structured(model, Mask({"9.weight": torch.ones(2, 4, dtype=torch.bool)}))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0),
    reason="2:4 products need a CUDA GPU of compute capability 8.0 or above",
)
def test_converted_layers_compute_what_the_masked_ones_do() -> None:
    model = perceptron().half().cuda()
    mask = prune(model, score.magnitude, 0.5, scope=n_of_m(2, 4))
    mask = Mask({**mask, "2.weight": torch.ones_like(mask["2.weight"])})
    masked = perceptron().half().cuda()
    mask.apply_to(masked)
    found = to_semi_structured(model, mask)
    assert found.sparse == ("0",)
    assert found.dense == {
        "2.weight": "of which more than 2 of 4 are kept",
        "4.weight": "of (10, 128), where multiples of (32, 64) can be",
    }
    inputs = torch.randn(64, 128, dtype=torch.float16, device="cuda")
    with torch.no_grad():
        assert torch.allclose(model(inputs), masked(inputs), rtol=1e-2, atol=1e-2)
