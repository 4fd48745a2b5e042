"""Subsets found, packed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import BoolTensor, Tensor

from prunus.code.compiled import compiled_finite


@dataclass(frozen=True, eq=False)
class Subsets:
    """A subset of n items for each of B targets.

    `used` is (B,) int64, bit i for item i; `negated` those of them that are subtracted, or None where none may be;
    `errors` is (B,) float64, distances of the sums to the targets.
    """

    n: int
    used: Tensor  # (B,)
    negated: Tensor | None  # (B,)
    errors: Tensor  # (B,)

    @property
    def kept(self) -> BoolTensor:  # (B, n)
        """True at the items used."""
        return _unpacked(self.used, self.n)

    @property
    def signs(self) -> Tensor:  # (B, n) int8
        """1 at the items added, -1 at those subtracted, 0 elsewhere."""
        signs = self.kept.to(torch.int8)
        return signs if self.negated is None else signs - 2 * _unpacked(self.negated, self.n).to(torch.int8)

    @property
    def counts(self) -> Tensor:  # (B,) int64
        """Items used."""
        counts = torch.empty_like(self.used)
        _count(self.used.numpy(), counts.numpy())
        return counts

    def within(self, epsilon: float) -> BoolTensor:  # (B,)
        """True where the sum is at most epsilon away."""
        return self.errors <= epsilon  # type: ignore[return-value]

    def success(self, epsilon: float) -> float:
        """The share of targets whose sum is at most epsilon away; NaN where there are no targets."""
        return float(self.within(epsilon).double().mean())


def _unpacked(bits: Tensor, n: int) -> BoolTensor:
    eight = bits.contiguous().view(torch.uint8).reshape(len(bits), 8).numpy()  # low byte first
    return torch.from_numpy(np.unpackbits(eight, axis=1, count=n, bitorder="little").view(np.bool_))  # type: ignore[return-value]


@compiled_finite
def _count(bits: Any, counts: Any) -> Any:
    for b in range(len(bits)):
        rest, count = bits[b], 0
        while rest:
            rest &= rest - 1
            count += 1
        counts[b] = count
