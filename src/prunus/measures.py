"""What scores and methods need, by name, measured on the training part of a data set."""

from collections.abc import Callable, Collection, Iterable
from inspect import signature
from typing import Any

import torch
from torch import nn

from prunus.batches import Batch
from prunus.curvature import LARGEST, curvature_factors, inverse_hessian
from prunus.data import Data
from prunus.errors import PrunusError
from prunus.evidence import (
    flows,
    gradients,
    hessian_diagonals,
    hessian_gradients,
    input_grams,
    input_norms,
    of_each_class,
    squared_gradients,
)
from prunus.tree import weights


def measured(needs: Collection[str], model: nn.Module, data: Data) -> dict[str, Any]:
    """What of `needs` is in `MEASURES`, by name."""
    return {name: measure(model, data) for name, measure in MEASURES.items() if name in needs}


def check_measurable(score: Callable[..., Any]) -> None:
    """Raise `PrunusError` where `score` asks for what neither `MEASURES` nor weights before training nor a seed give.

    `momenta`, for one, are those of a training, and `variances` those of `structured.in_components`.
    """
    for parameter in list(signature(score).parameters.values())[1:]:
        if parameter.default is parameter.empty and parameter.name not in {"initial", "generator", *MEASURES}:
            raise PrunusError(
                f"this score asks for {parameter.name}, which cannot be measured on a network and its data: "
                f"call prunus.prune with {parameter.name}=... in Python."
            )


def _over_rows(measure: Callable[[nn.Module, Iterable[Batch]], Any]) -> Callable[[nn.Module, Data], Any]:
    """`measure` over the first 4,096 rows."""
    return lambda model, data: measure(model, data.train.batches(256, most=16))


def _over_classes(model: nn.Module, data: Data) -> Any:
    """Hessian products over the first 25 rows of each class."""
    rows = data.train.batches(256, most=len(data.train))
    return hessian_gradients(model, [of_each_class(rows, 25, len(data.classes))])


def _factors(model: nn.Module, data: Data) -> Any:
    """One column for each of the first 512 rows, or of as many as there is room for."""
    room = LARGEST // sum(weight.numel() for weight in weights(model).values())
    drawn = torch.Generator().manual_seed(0)
    return curvature_factors(model, data.train.batches(min(512, max(1, room)), most=1), generator=drawn)


MEASURES: dict[str, Callable[[nn.Module, Data], Any]] = {
    "gradients": _over_rows(gradients),
    "squared_gradients": _over_rows(squared_gradients),
    "hessian_gradients": _over_classes,
    "hessian_diagonals": _over_rows(hessian_diagonals),
    "flows": lambda model, data: flows(model, torch.empty(1, *data.input_shape)),
    "input_norms": _over_rows(input_norms),
    "grams": _over_rows(input_grams),
    "inverse": _over_rows(inverse_hessian),
    "factors": _factors,
}
"""How it is measured what scores and methods ask for."""
