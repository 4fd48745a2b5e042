"""One least-squares problem per layer: rows of weights, and the inner products of what they multiply."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from prunus.errors import PrunusError
from prunus.tree import Tree


@dataclass(frozen=True)
class Problem:
    """Rows that read the same inputs, in double precision: a layer's, or those of one of its groups."""

    rows: Tensor  # (rows, columns)
    gram: Tensor  # (columns, columns)
    name: str

    def inverse(self, damping: float) -> Tensor:
        """The inverse of the gram with `damping` times the mean of its diagonal added there, (columns, columns)."""
        if not damping >= 0:
            raise PrunusError(f"damping {damping} is negative.")
        diagonal = self.gram.diagonal()
        mean = float(diagonal.mean()) or 1.0  # inputs that are always zero
        factor, failed = torch.linalg.cholesky_ex(self.gram + torch.diag(torch.full_like(diagonal, damping * mean)))
        if failed:
            raise PrunusError(f"{self.name}: its inputs depend on each other; damping {damping:g} must be raised.")
        return torch.cholesky_inverse(factor)


def problems(name: str, weight: Tensor, gram: Tensor) -> list[Problem]:
    """The problems of one layer: as many as it has groups."""
    columns = weight[0].numel()
    grams = gram if gram.ndim == 3 else gram[None]  # (groups, columns, columns)
    if grams.shape[1:] != (columns, columns) or len(weight) % len(grams):
        raise PrunusError(f"{name}: a gram {tuple(gram.shape)} does not fit weights {tuple(weight.shape)}.")
    rows = weight.flatten(1).double().chunk(len(grams))
    return [Problem(some, each.to(some), name) for some, each in zip(rows, grams, strict=True)]


def measured(own: Tree, grams: Tree) -> Iterator[tuple[str, Tensor, list[Problem]]]:
    """(name, weight, problems) of every layer with a gram, in the weights' order."""
    absent = [name for name in grams if name not in own]
    if absent:
        raise PrunusError(f"grams of {', '.join(absent[:3])} not among the weights.")
    for name, weight in own.items():
        if name in grams:
            yield name, weight, problems(name, weight, grams[name])


def split(flat: Tensor, own: Tree) -> dict[str, Tensor]:
    """The entries of `flat` by the names and in the shapes of `own`."""
    parts = flat.split([weight.numel() for weight in own.values()])
    return {name: part.reshape(weight.shape) for (name, weight), part in zip(own.items(), parts, strict=True)}
