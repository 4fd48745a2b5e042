import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from prunus.data import Split, load
from prunus.errors import DivergedError
from prunus.evaluation import evaluate
from prunus.models import build

DIGITS = load("digits")


@pytest.mark.parametrize("batch", [1, 7, 150, 1000])
def test_score_against_one_pass_over_everything(batch: int) -> None:
    model = build("lenet-300-100", DIGITS, seed=1)
    part = DIGITS.validation
    logits = model(part.normalise(part.inputs))
    score = evaluate(model, part, batch=batch)
    assert score.error == 100 * (logits.argmax(1) != part.labels).sum().item() / 150
    assert score.loss == pytest.approx(F.cross_entropy(logits, part.labels).item(), rel=1e-5)


def test_right_and_wrong_answers() -> None:
    inputs = torch.zeros(4, 1, 1, 2, dtype=torch.uint8)
    inputs[:, 0, 0, 1] = torch.tensor([1, 1, 1, 0])
    split = Split(inputs, torch.tensor([1, 1, 1, 1]), torch.zeros(1), torch.ones(1))
    assert evaluate(nn.Flatten(), split).error == 25.0


def test_mode_gradients_and_noise_are_left_alone() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10), nn.BatchNorm1d(10)).train()
    model[3].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first, again = evaluate(model, DIGITS.validation), evaluate(model, DIGITS.validation)
    assert first == again  # dropout is off
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model] == [True, True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[2].weight.grad is None


def test_not_finite_weight_is_named() -> None:
    model = build("lenet-300-100", DIGITS)
    with torch.no_grad():
        model.get_parameter("fc2.bias")[3] = torch.nan
    with pytest.raises(DivergedError, match=r"loss of nan: parameter 'fc2\.bias' holds NaN or infinity"):
        evaluate(model, DIGITS.validation)


def test_layer_that_overflows_is_named() -> None:
    model = build("lenet-300-100", DIGITS)
    with torch.no_grad():
        model.get_parameter("fc1.weight").fill_(3e38)
    with pytest.raises(DivergedError, match=r"the output of layer 'fc1' holds NaN or infinity"):
        evaluate(model, dataclasses.replace(DIGITS.validation))
