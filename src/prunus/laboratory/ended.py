"""Masks that trainings end with."""

from dataclasses import dataclass

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.store import Bench, Outcome, Piece


@dataclass(frozen=True, eq=False)
class Ended:
    """The mask that a training ended with: to train on with, to train from the start, or to be checked as any other."""

    trained: Piece

    def make(self, bench: Bench) -> Outcome:
        """Take it."""
        extra = bench.result(self.trained).extra
        if "mask" not in extra:
            raise PrunusError("this training ended with no mask of its own.")
        mask = Mask(extra["mask"])
        return Outcome(mask, {"density": mask.density, "densities": mask.densities()})
