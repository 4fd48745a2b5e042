"""What is baked is what evaluation saw, plain and with exact zeros; the model stays as it is until then."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from prunus import pack
from prunus.data import load
from prunus.errors import PrunusError
from prunus.quantise import share
from prunus.reparametrised import (
    DynamicPruning,
    HardConcrete,
    Method,
    Movement,
    Quantised,
    Reparametrisation,
    SoftThreshold,
)
from prunus.settings import Settings
from prunus.shrinking import shrink
from prunus.training import train

from .networks import METHODS, Normed, single

pytestmark = pytest.mark.usefixtures("one_thread")
DIGITS = load("digits")
SETTINGS = Settings(steps=30, batch=50, learning_rate=5e-3, weight_decay=1e-3)


def learnt(name: str, model: nn.Module, steps: int = 30) -> Reparametrisation:
    learning = Reparametrisation(model, METHODS[name])

    def loss(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        penalty = learning.penalty()
        value = nn.functional.cross_entropy(network(inputs), labels)
        return value if penalty is None else value + penalty

    train(
        learning.network,
        DIGITS,
        SETTINGS,
        seed=0,
        optimizer=learning.optimizer(SETTINGS),
        loss=loss,
        end=steps,
        on_step=learning.after_step,
    )
    return learning


@pytest.mark.parametrize("name", METHODS)
def test_what_is_baked_is_what_evaluation_saw(name: str) -> None:
    torch.manual_seed(0)
    model = Normed()
    before, keys = deepcopy(model.state_dict()), list(model.state_dict())
    learning = learnt(name, model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    mask = learning.bake(model)
    inputs, _ = next(DIGITS.train.batches(64, most=1))
    learning.network.eval()
    assert torch.allclose(model.eval()(inputs), learning.network(inputs), atol=1e-5)
    assert list(model.state_dict()) == keys
    assert type(model.fc) is nn.Linear
    for key in ("conv.weight", "fc.weight"):
        weight = model.get_parameter(key)
        assert torch.equal(weight != 0, mask[key])
        assert not weight[~mask[key]].signbit().any()
        assert not torch.equal(weight, before[key])
    assert 0 < mask.density < 1 or name == "binary"


@pytest.mark.parametrize("name", ["surgery", "soft-movement", "variational-dropout", "l0", "3-bit"])
def test_fewer_can_be_kept_than_the_method_would(name: str) -> None:
    torch.manual_seed(0)
    model = Normed()
    learning = learnt(name, model, 8)
    assert learning.mask().density > 0.1
    mask = learning.bake(model, 0.1)
    assert mask.kept == round(0.1 * (72 + 1280))
    assert (mask & ~learning.mask()).kept == 0
    worth = {key: layer.worth(learning.trained[key].detach()) for key, layer in learning.layers.items()}
    least = min(float(worth[key][kept].min()) for key, kept in mask.items() if kept.any())
    assert all((worth[key][learning.mask()[key] & ~kept] <= least).all() for key, kept in mask.items())


@pytest.mark.parametrize("method", [Movement(0.3, end=1), Quantised(2)], ids=["movement", "2-bit"])
@pytest.mark.parametrize("kind", ["lstm", "encoder"])
def test_recurrence_and_attention_too(kind: str, method: Method) -> None:
    torch.manual_seed(0)
    model = nn.LSTM(8, 4) if kind == "lstm" else nn.TransformerEncoderLayer(8, 2, 16)
    inputs = torch.randn(3, 2, 8)

    def outputs(network: nn.Module) -> torch.Tensor:
        found = network(inputs)
        return found[0] if kind == "lstm" else found  # type: ignore[no-any-return]

    before, learning = outputs(model.eval()), Reparametrisation(model, method)
    optimizer = learning.optimizer(Settings(steps=1))
    outputs(learning.network).square().mean().backward()
    optimizer.step()
    learning.after_step(1)
    assert 0.2 < learning.bake(model).density < 0.95
    assert torch.equal(outputs(model), outputs(learning.network))
    assert not torch.allclose(outputs(model), before, atol=1e-2)


def test_the_penalty_rises_with_the_steps() -> None:
    learning, _ = single([[1.0, -1.0]], SoftThreshold(-3.0, 0.5, warm_up=4))
    rising = []
    for step in range(1, 7):
        learning.after_step(step)
        rising.append(learning.penalty().item())  # type: ignore[union-attr]
    assert rising == pytest.approx([0.25 * 9 * share for share in (0.25, 0.5, 0.75, 1, 1, 1)])


def test_what_a_method_adds_has_its_own_rate_and_no_decay() -> None:
    learning, _ = single([[1.0, -1.0]], SoftThreshold(rate=3.0))
    weights, added = learning.optimizer(Settings(steps=1, learning_rate=0.1, weight_decay=0.2)).param_groups
    assert [tuple(one.shape) for one in weights["params"]] == [(1, 2)]
    assert [tuple(one.shape) for one in added["params"]] == [()]
    assert (weights["weight_decay"], added["weight_decay"]) == (0.2, 0.0)
    assert added["lr"] == pytest.approx(3 * weights["lr"])


def test_closed_groups_are_taken_out() -> None:
    """Units whose gates are closed leave a smaller network that computes the same."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    learning = Reparametrisation(model, HardConcrete(1.0, axis=0), left=["2.weight"])
    gates = learning.layers["0.weight"].log_alpha
    gates.data.copy_(torch.tensor([-4.0, 1.0, -4.0, 0.0, 2.0, -4.0, 9.0, 0.5])[:, None])
    mask = learning.bake(model)
    inputs = torch.randn(5, 6)
    smaller = shrink(model.eval(), mask, example=inputs)
    assert smaller.get_parameter("0.weight").shape == (5, 6)
    assert torch.allclose(smaller(inputs), learning.network.eval()(inputs), atol=1e-6)


def test_a_checkpoint_of_other_decisions_is_refused(tmp_path: Path) -> None:
    def run(method: Method) -> None:
        torch.manual_seed(0)
        learning = Reparametrisation(Normed(), method)
        train(
            learning.network,
            DIGITS,
            SETTINGS,
            seed=0,
            optimizer=learning.optimizer(SETTINGS),
            end=2,
            on_step=learning.after_step,
            stateful={"learning": learning},
            checkpoint=tmp_path / "run",
        )

    run(DynamicPruning(0.3, end=20))
    run(DynamicPruning(0.3, end=20))
    with pytest.raises(PrunusError, match="is of another run: its start is"):
        run(DynamicPruning(0.4, end=20))


def test_some_weights_can_be_left_alone() -> None:
    model = Normed()
    learning = Reparametrisation(model, DynamicPruning(0.5, end=1), left=["conv.weight"])
    learning.after_step(1)
    mask = learning.bake(model)
    assert list(mask) == ["fc.weight"]
    assert mask.kept == 640
    assert torch.equal(model.conv.weight, learning.network.get_parameter("conv.weight"))
    with pytest.raises(PrunusError, match=r"no prunable weight of this model: norm\.weight"):
        Reparametrisation(model, DynamicPruning(0.5, end=1), left=["norm.weight"])


def test_tied_weights_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    with pytest.raises(PrunusError, match=r"1\.weight is tied to another weight"):
        Reparametrisation(model, DynamicPruning(0.5, end=2))


@pytest.mark.parametrize("bits", [1, 3])
def test_few_levels_are_an_exact_codebook_and_a_small_file(bits: int, tmp_path: Path) -> None:
    model = nn.Linear(256, 64, bias=False)
    method = Quantised(bits)
    learning = Reparametrisation(model, method)
    learning.bake(model)
    weight = model.weight.detach()
    book = method.codebooks({"weight": weight})["weight"]
    assert len(book.centroids) <= 2**bits
    assert torch.equal(book.decode(), weight)
    contents = pack.write(tmp_path / "a.prunus", {"weight": weight})
    assert contents.file_bytes < bits * weight.numel() / 8 + 700
    assert len(share(weight, 2**16).centroids) == len(book.centroids)  # there are no more values
