"""How to train: numbers and names that a person chooses, checked, and the optimizer they stand for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from prunus.errors import PrunusError, unknown
from prunus.tree import parameters

OPTIMIZERS = ("sgd", "adam", "adamw")
DECAYS = ("constant", "cosine", "steps")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Settings:
    """How to train; either `epochs` or `steps` says how long. An epoch leaves out the rows that fill no
    batch.

    Masked layers of at most the density `sparse_below` are trained by kernels that leave pruned weights out
    (`prunus.hold_sparse`), where a network is trained with a mask: 0 for none.

    `decay` lowers the learning rate to zero by half a cosine, or to a tenth at each of `drops` (shares of all
    steps), after `warm_up` steps of linear rise. `augment` applies the data's own augmentation.

    >>> Settings(epochs=1, optimizer="adm")
    Traceback (most recent call last):
    prunus.errors.PrunusError: unknown optimizer 'adm', did you mean 'adam'? Valid: sgd, adam, adamw.
    """

    epochs: int | None = None
    steps: int | None = None
    batch: int = 128
    optimizer: str = "adam"
    learning_rate: float = 1.2e-3
    momentum: float = 0.9  # of sgd
    weight_decay: float = 0.0
    decay: str = "constant"
    drops: tuple[float, ...] = (0.5, 0.75)
    warm_up: int = 0
    augment: bool = False
    label_smoothing: float = 0.0
    precision: str = "32-true"
    sparse_below: float = 0.0

    def __post_init__(self) -> None:
        for name, valid in (("optimizer", OPTIMIZERS), ("decay", DECAYS), ("precision", PRECISIONS)):
            if getattr(self, name) not in valid:
                raise unknown(name, getattr(self, name), valid)
        if (self.epochs is None) == (self.steps is None):
            raise PrunusError(f"give either epochs or steps, found {self.epochs} epochs and {self.steps} steps.")
        for name, least in (("epochs", 0), ("steps", 0), ("warm_up", 0), ("batch", 1)):
            number = getattr(self, name)
            if number is not None and number < least:
                raise PrunusError(f"{name} must be at least {least}, found {number}.")
        for name, limit in (
            ("learning_rate", math.inf),
            ("weight_decay", math.inf),
            ("sparse_below", math.inf),
            ("momentum", 1),
            ("label_smoothing", 1),
        ):
            if not 0 <= getattr(self, name) < limit:
                raise PrunusError(f"{name} must be from 0 to below {limit}, found {getattr(self, name)}.")
        if self.sparse_below and self.precision != "32-true":
            raise PrunusError(f"sparse layers are trained in precision '32-true', found '{self.precision}'.")

    def steps_in_all(self, rows: int) -> int:
        """The number of optimizer steps on a training part of `rows` rows."""
        return self.steps if self.steps is not None else (self.epochs or 0) * (rows // self.batch)

    def share_of_rate(self, step: int, total: int) -> float:
        """What share of the full learning rate step `step` (from 0) of `total` is taken with.

        >>> settings = Settings(steps=8, decay="cosine", warm_up=4)
        >>> [round(settings.share_of_rate(step, 8), 3) for step in range(8)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 0.854, 0.5, 0.146]
        """
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        if self.decay == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (step - self.warm_up) / (total - self.warm_up)))
        if self.decay == "steps":
            return float(0.1 ** sum(step >= drop * total for drop in self.drops))
        return 1.0


def make_optimizer(trained: nn.Module | Mapping[str, nn.Parameter], settings: Settings) -> Optimizer:
    """The optimizer that `settings` name, over all parameters of a model, or over those given by name."""
    own = list((parameters(trained) if isinstance(trained, nn.Module) else trained).values())
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return SGD(own, lr=rate, momentum=settings.momentum, weight_decay=decay, fused=True)
    kind = Adam if settings.optimizer == "adam" else AdamW
    return kind(own, lr=rate, weight_decay=decay, fused=True)
