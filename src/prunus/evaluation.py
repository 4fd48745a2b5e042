"""How a model does on a split, and where in it the first number that is none appears."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.data import Split
from prunus.errors import DivergedError
from prunus.modes import mode
from prunus.tree import parameters


@dataclass(frozen=True)
class Score:
    """The share of wrong answers in percent, and the mean cross-entropy in nats."""

    error: float
    loss: float


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, *, batch: int = 250) -> Score:
    """Score `model` in evaluation mode on all of `split`, on the model's device; its mode is left as it was.

    Raises `DivergedError` where the logits are not finite, naming the place.
    """
    split = split.to(device_of(model))
    wrong, loss = 0, 0.0
    with mode(model, training=False):
        for rows in torch.arange(len(split), device=split.labels.device).split(batch):
            inputs = split.normalise(split.inputs.index_select(0, rows))
            labels = split.labels.index_select(0, rows)
            logits = model(inputs).float()  # (B, classes)
            wrong += int((logits.argmax(1) != labels).sum())
            part = float(F.cross_entropy(logits, labels, reduction="sum"))
            if not math.isfinite(part):
                raise DivergedError(f"evaluation gave a loss of {part}: {first_not_finite(model, inputs)}.")
            loss += part
    return Score(error=100 * wrong / len(split), loss=loss / len(split))


def device_of(model: nn.Module) -> torch.device:
    """Where the first parameter of `model` is; the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def not_finite_parameter(model: nn.Module) -> str | None:
    """The name of the first parameter of `model` that holds NaN or infinity, if any."""
    return next((name for name, value in parameters(model).items() if not value.isfinite().all()), None)


@torch.no_grad()
def first_not_finite(model: nn.Module, inputs: Tensor) -> str:
    """Where NaN or infinity appears first, in words: in a parameter, or in what a layer makes of `inputs`."""
    if name := not_finite_parameter(model):
        return f"parameter '{name}' holds NaN or infinity"
    places: list[str] = []

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not output.isfinite().all():
                places.append(name)

        return hook

    layers = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    handles = [layer.register_forward_hook(note(name)) for name, layer in layers]
    try:
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return f"the output of layer '{places[0]}' holds NaN or infinity" if places else "all layers are finite"
