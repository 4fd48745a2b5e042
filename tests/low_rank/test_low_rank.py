"""At full rank nothing changes; below it, the error is what Eckart and Young say and the parameters are counted."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from prunus.data import load
from prunus.errors import PrunusError
from prunus.low_rank import LowRankConv2d, LowRankLinear, LowRankLSTM, low_rank, low_rank_like, split
from prunus.models import build
from prunus.settings import Settings
from prunus.training import train

pytestmark = pytest.mark.usefixtures("one_thread")


class Attentive(nn.Module):
    """Attention of queries to keys of another width."""

    def __init__(self, **how: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **how)

    def forward(self, queries: Tensor) -> Tensor:
        keys = queries[..., : self.attention.kdim]
        return self.attention(queries, keys, queries[..., : self.attention.vdim])[0]  # type: ignore[no-any-return]


class Last(nn.Module):
    """An LSTM's outputs and both of its last states, from states that are not zero."""

    def __init__(self, *sizes: int, **how: Any) -> None:
        super().__init__()
        self.lstm = nn.LSTM(*sizes, **how)

    def forward(self, inputs: Tensor) -> Tensor:
        place = 0 if self.lstm.batch_first else 1
        count = self.lstm.num_layers * (2 if self.lstm.bidirectional else 1)
        state = torch.linspace(-1, 1, 6).repeat(count, inputs.shape[place], 1)
        outputs, (hidden, cell) = self.lstm(inputs, (state, -state))
        return torch.cat([part.flatten() for part in (outputs, hidden, cell, *self.lstm(inputs)[1])])


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 4), (3, 6)),
    "no bias": (lambda: nn.Linear(4, 6, bias=False), (3, 4)),
    "conv": (lambda: nn.Conv2d(3, 5, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2)), (2, 3, 7, 8)),
    "circular": (lambda: nn.Conv2d(2, 30, 3, padding=1, padding_mode="circular", bias=False), (2, 2, 5, 5)),
    "lstm": (lambda: Last(5, 6), (4, 3, 5)),
    "deep lstm": (lambda: Last(5, 6, num_layers=2, bidirectional=True, batch_first=True), (3, 4, 5)),
    "lstm, no bias": (lambda: Last(5, 6, bias=False), (4, 3, 5)),
    "attention": (Attentive, (2, 5, 8)),
    "attention of other widths": (lambda: Attentive(kdim=6, vdim=4), (2, 5, 8)),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8)),
}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_full_rank_is_the_same_function(name: str) -> None:
    torch.manual_seed(0)
    make, shape = MODELS[name]
    model, inputs = make().eval(), torch.randn(shape)
    narrow = low_rank(model, ratio=1.0, first=0, last=0)
    assert type(narrow) is not type(model) or list(narrow.state_dict()) != list(model.state_dict())
    expected = model(inputs)
    assert torch.allclose(narrow(inputs), expected, atol=2e-6)
    with torch.no_grad():  # where torch takes its fast path
        assert torch.allclose(narrow(inputs), expected, atol=2e-6)
    assert not torch.allclose(low_rank(model, ratio=0.2, first=0, last=0)(inputs), expected, atol=1e-2)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("norm", [False, True])
def test_a_network_is_made_again_from_its_state(name: str, norm: bool) -> None:
    torch.manual_seed(0)
    make, shape = MODELS[name]
    model, inputs = make().eval(), torch.randn(shape)
    narrow = low_rank(model, ratio=0.6, first=0, last=0, norm=norm)
    again = low_rank_like(make().eval(), narrow.state_dict())
    again.load_state_dict(narrow.state_dict())
    assert torch.equal(again(inputs), narrow(inputs))
    assert list(low_rank_like(model, model.state_dict()).state_dict()) == list(model.state_dict())


def test_the_error_is_that_of_the_singular_values_left_out() -> None:
    torch.manual_seed(0)
    weight = torch.randn(7, 12, dtype=torch.float64)
    values = torch.linalg.eigvalsh(weight @ weight.T).flip(0)  # squares of the singular values, largest first
    for rank in range(1, 8):
        u, v = split(weight, rank)
        assert (u.shape, v.shape) == ((rank, 12), (7, rank))
        assert (weight - v @ u).square().sum().item() == pytest.approx(values[rank:].sum().item(), abs=1e-10)
        assert torch.allclose(u @ u.T, v.T @ v)  # the singular values are shared evenly
    other = torch.randn(7, 3, dtype=torch.float64) @ torch.randn(3, 12, dtype=torch.float64)
    assert (weight - other).square().sum() > values[3:].sum()


def test_a_convolution_has_the_error_of_its_matrix() -> None:
    torch.manual_seed(1)
    layer = nn.Conv2d(4, 6, 3, bias=False)
    narrow = low_rank(layer, ratio=0.5, first=0, last=0)
    assert isinstance(narrow, LowRankConv2d)
    matrix = layer.weight.detach().flatten(1)
    product = torch.einsum("or,rikl->oikl", narrow.v.weight[:, :, 0, 0], narrow.u.weight)  # type: ignore[index]
    left_out = torch.linalg.svdvals(matrix)[3:].square().sum()
    assert torch.allclose((product - layer.weight).square().sum(), left_out, rtol=1e-5)


@pytest.mark.parametrize("warm", [True, False])
def test_parameters_are_counted(warm: bool) -> None:
    def counted(model: nn.Module) -> int:
        return count(low_rank(model, warm=warm, first=0, last=0))

    assert counted(nn.Linear(40, 12)) == 3 * (40 + 12) + 12
    assert counted(nn.Conv2d(16, 32, 3)) == 8 * (16 * 9 + 32) + 32
    assert counted(nn.LSTM(8, 12)) == 4 * (2 * (8 + 12) + 3 * (12 + 12)) + 2 * 48
    assert counted(nn.MultiheadAttention(16, 4)) == 4 * 4 * (16 + 16) + 48 + 16


def test_published_parameters_of_vgg_19() -> None:
    """Wang et al. 2021: 20.56 million become 8.37 million, nine convolutions and the last layer full."""
    layers: list[nn.Module] = []
    maps = [3] + [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8
    for a, b in pairwise(maps):
        layers += [nn.Conv2d(a, b, 3, bias=False), nn.BatchNorm2d(b)]
    model = nn.Sequential(*layers, nn.Linear(512, 512), nn.Linear(512, 512), nn.Linear(512, 10))
    assert count(model) == 20_560_330
    assert round(count(low_rank(model, first=9)), -4) == 8_370_000


def test_published_parameters_of_resnet_18() -> None:
    """Wang et al. 2021: 3.336 million, the first convolution, the first block and all shortcuts full."""

    def block(a: int, b: int) -> nn.ModuleDict:
        twice = [nn.Conv2d(a, b, 3, bias=False), nn.BatchNorm2d(b), nn.Conv2d(b, b, 3, bias=False), nn.BatchNorm2d(b)]
        shortcut = [nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b)] if a != b else []
        return nn.ModuleDict({"main": nn.Sequential(*twice), "shortcut": nn.Sequential(*shortcut)})

    maps = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    stem = nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), nn.BatchNorm2d(64))
    model = nn.Sequential(stem, *[block(a, b) for a, b in pairwise(maps)], nn.Linear(512, 10))
    shortcuts = [name for name, _ in model.named_modules() if name.endswith("shortcut.0")]
    assert count(model) == 11_173_962
    assert round(count(low_rank(model, first=3, full=shortcuts)), -3) == 3_336_000


def test_the_first_and_last_layers_and_those_named_stay_full() -> None:
    model = build("resnet-20", load("digits"))
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]

    def full(**how: Any) -> set[str]:
        narrow = low_rank(model, **how)
        return {name for name in names if type(narrow.get_submodule(name)) in (nn.Conv2d, nn.Linear)}

    assert full() == {"conv1", "linear"}
    assert full(first=3, last=0) == {"conv1", "layer1.0.conv1", "layer1.0.conv2"}
    assert full(first=0, last=2) == {"layer3.2.conv2", "linear"}
    assert full(full=["layer1.0", "layer2.1.conv1"]) == {
        *("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.1.conv1", "linear")
    }
    assert isinstance(low_rank(model, last=0).get_submodule("linear"), LowRankLinear)


def test_what_cannot_have_low_rank_stays() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.LSTM(4, 4, proj_size=2), nn.Embedding(4, 4), nn.Linear(4, 4))
    model[3].weight = model[2].weight  # tied
    assert [type(layer) for layer in low_rank(model, first=0, last=0)] == [type(layer) for layer in model]
    with pytest.raises(PrunusError, match="'nowhere' is no layer that could have low rank"):
        low_rank(nn.Sequential(nn.Linear(2, 2)), full=["nowhere"])
    with pytest.raises(PrunusError, match="above 0 and at most 1, found 0"):
        low_rank(nn.Linear(2, 2), ratio=0.0)
    with pytest.raises(PrunusError, match="a batch of sequences"):
        LowRankLSTM(nn.LSTM(2, 2), 0.5)(torch.zeros(3, 2))


def test_cold_factors_are_drawn_and_warm_ones_are_not() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.LSTM(8, 8), nn.MultiheadAttention(8, 2))
    states = []
    for warm in (True, True, False, False):
        states.append(low_rank(model, warm=warm, first=0, last=0).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    thin = [name for name, value in states[0].items() if value.ndim > 1]
    assert len(thin) == 2 + 4 + 4
    assert not any(torch.equal(states[2][name], states[3][name]) for name in thin)
    assert all(states[2][name].std() > 0.05 for name in thin)


def test_norm_lies_between_the_factors() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Conv2d(4, 6, 3), torch.randn(2, 4, 5, 5)
    plain, normed = (low_rank(model, first=0, last=0, norm=norm).eval() for norm in (False, True))
    assert [name for name, _ in normed.named_children()] == ["u", "norm", "v"]
    assert torch.allclose(normed(inputs), plain(inputs), atol=1e-4)  # fresh statistics are 0 and 1


def test_a_warm_start_goes_on_from_where_the_full_network_was() -> None:
    data = load("digits")
    model = build("lenet-300-100", data, seed=0)
    settings = Settings(steps=60, batch=50, learning_rate=2e-3)
    train(model, data, settings, seed=0)
    inputs, labels = next(data.validation.batches(300, most=1))

    def loss(network: nn.Module) -> float:
        return nn.functional.cross_entropy(network.eval()(inputs), labels).item()

    warm, cold = (low_rank(model, warm=warm) for warm in (True, False))
    assert loss(model) < loss(warm) < loss(cold)
    train(warm, data, settings, seed=1)
    assert loss(warm) < loss(model)
