"""Settings that make no sense, data that does not fit them, and weights that are not finite."""

import math
from typing import Any

import pytest
import torch

from prunus.errors import DivergedError, PrunusError
from prunus.models import build
from prunus.settings import Settings
from prunus.training import _Batches, _Host, train

from .runs import DIGITS, noisy


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "give either epochs or steps, found None epochs and None steps"),
        ({"epochs": 1, "steps": 1}, "give either epochs or steps"),
        ({"epochs": -1}, "epochs must be at least 0, found -1"),
        ({"epochs": 1, "batch": 0}, "batch must be at least 1, found 0"),
        ({"epochs": 1, "learning_rate": -1.0}, "learning_rate must be from 0 to below inf, found -1.0"),
        ({"epochs": 1, "learning_rate": math.nan}, "learning_rate must be from 0 to below inf, found nan"),
        ({"epochs": 1, "label_smoothing": 1.0}, "label_smoothing must be from 0 to below 1, found 1.0"),
        ({"epochs": 1, "decay": "cosin"}, "unknown decay 'cosin', did you mean 'cosine'"),
        ({"epochs": 1, "precision": "64"}, "unknown precision '64'"),
        ({"epochs": 1, "precision": "bf16-mixed", "sparse_below": 0.5}, "in precision '32-true', found 'bf16-mixed'"),
    ],
)
def test_bad_settings(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PrunusError, match=sentence):
        Settings(**changes)


def test_batch_larger_than_the_data() -> None:
    with pytest.raises(PrunusError, match="batch 2000 is larger than the 1350 training rows of 'digits'"):
        train(noisy(), DIGITS, Settings(epochs=1, batch=2000), seed=0)


def test_batch_that_cannot_be_divided() -> None:
    with pytest.raises(PrunusError, match="batch 99 cannot be divided among 2 processes"):
        _Batches(DIGITS, Settings(steps=1, batch=99), 0, torch.device("cpu"), _Host(noisy(), None, processes=2))


def test_diverging_run_names_step_and_place() -> None:
    model = build("lenet-300-100", DIGITS, seed=0)

    def spoil(step: int) -> None:
        if step == 7:
            with torch.no_grad():
                model.get_parameter("fc2.weight")[0, 0] = math.nan

    with pytest.raises(DivergedError, match=r"loss is nan at step 8: parameter 'fc2\.weight' holds NaN or infinity"):
        train(model, DIGITS, Settings(steps=50), seed=0, on_step=spoil)


def test_learning_rate_that_is_far_too_high() -> None:
    model = build("lenet-300-100", DIGITS, seed=0)
    with pytest.raises(DivergedError, match=r"loss is (nan|inf) at step [2-9]: the output of layer 'fc\d'"):
        train(model, DIGITS, Settings(steps=50, optimizer="sgd", learning_rate=1e30), seed=0)


def test_layer_that_overflows_is_named() -> None:
    model = build("lenet-300-100", DIGITS, seed=0)
    with torch.no_grad():
        model.get_parameter("fc2.weight").fill_(3e38)
    with pytest.raises(DivergedError, match=r"at step 1: the output of layer 'fc2' holds NaN or infinity"):
        train(model, DIGITS, Settings(steps=50), seed=0)


@pytest.mark.parametrize(("moment", "sentence"), [(0, "before the first step"), (3, "after step 3")])
def test_weight_that_is_not_finite_at_either_end(moment: int, sentence: str) -> None:
    model = build("lenet-300-100", DIGITS)

    def spoil(step: int) -> None:
        if step == moment:
            with torch.no_grad():
                model.get_parameter("fc3.bias")[0] = math.inf

    spoil(0)
    with pytest.raises(DivergedError, match=rf"parameter 'fc3\.bias' holds NaN or infinity {sentence}"):
        train(model, DIGITS, Settings(steps=3), seed=0, on_step=spoil)
