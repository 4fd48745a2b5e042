"""How random weights are distributed: what with a seed makes the same tensor on every machine.

The numbers of each are held within bounds where no value is infinite, or subnormal, which some machines take as zero.
"""

from dataclasses import dataclass
from math import ldexp
from typing import final

import numpy as np
from torch import Tensor

from prunus import draws
from prunus.errors import PrunusError

LEAST, MOST = 2.0**-100, 2.0**100
LEAST_END = 2.0**-60  # what low + ... comes to, in double precision, is 0 or no smaller than 2**-54 of low


@final
@dataclass(frozen=True)
class SignedConstant:
    """+`scale` or -`scale`."""

    scale: float

    def __post_init__(self) -> None:
        _check_size("scale", self.scale)

    def draw(self, seed: int, stream: int, shape: tuple[int, ...], *, first: int = 0) -> Tensor:  # float32
        """See `prunus.draws.signs`."""
        return draws.signs(seed, stream, shape, first=first) * float(np.float32(self.scale))


@final
@dataclass(frozen=True)
class Symmetric:
    """Uniform on [-`scale`, `scale`], with the signs that the signed constant of the same seed and stream has."""

    scale: float

    def __post_init__(self) -> None:
        _check_size("scale", self.scale)

    def draw(self, seed: int, stream: int, shape: tuple[int, ...], *, first: int = 0) -> Tensor:  # float32
        """See `prunus.draws.uniform`."""
        return draws.uniform(seed, stream, shape, self.scale, -self.scale, first=first)


@final
@dataclass(frozen=True)
class Uniform:
    """Uniform on [`low`, `high`]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise PrunusError(f"no weights can be drawn from [{self.low:g}, {self.high:g}], expected low < high.")
        for end in (self.low, self.high):
            if not (end == 0 or LEAST_END <= abs(end) <= MOST):
                raise PrunusError(f"an end of a range must be 0 or from 2**-60 to 2**100 in size, found {end:g}.")

    def draw(self, seed: int, stream: int, shape: tuple[int, ...], *, first: int = 0) -> Tensor:  # float32
        """See `prunus.draws.uniform`."""
        return draws.uniform(seed, stream, shape, self.low, self.high, first=first)


@final
@dataclass(frozen=True)
class Hyperbolic:
    """Of either sign, with density proportional to 1 / |w| on `octaves` octaves below `high` (Orseau et al. 2020)."""

    high: float
    octaves: int

    def __post_init__(self) -> None:
        _check_size("high", self.high)
        if not (self.octaves >= 1 and ldexp(self.high, -self.octaves) >= LEAST):
            raise PrunusError(
                f"hyperbolic weights need 1 octave or more, and end at 2**-100 or above: found {self.octaves} octaves "
                f"below {self.high:g}."
            )

    def draw(self, seed: int, stream: int, shape: tuple[int, ...], *, first: int = 0) -> Tensor:  # float32
        """See `prunus.draws.hyperbolic`."""
        return draws.hyperbolic(seed, stream, shape, self.high, self.octaves, first=first)


Known = SignedConstant | Symmetric | Uniform | Hyperbolic
"""Those that a file can name."""


def _check_size(name: str, value: float) -> None:
    if not LEAST <= value <= MOST:
        raise PrunusError(f"a {name} must be from 2**-100 to 2**100, found {value}.")
