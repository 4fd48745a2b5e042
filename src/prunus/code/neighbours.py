"""Which entries of a matrix say something about the next one: those around it, in the image a row may hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Geometry:
    """A matrix of `rows` x `columns` and the order in which its entries are coded.

    A row holds images `width` entries wide (0: no image) in planes of `plane` entries (0: only one): 28 and 0
    for weights that read MNIST, 3 and 9 for kernels of 3 x 3. `transposed`: coded column by column.
    """

    rows: int
    columns: int
    transposed: bool = False
    width: int = 0
    plane: int = 0

    def scan(self) -> NDArray[np.int64]:
        """Lengths of the outer and the inner loop, and how far apart their entries are in memory."""
        if self.transposed:
            return np.array([self.columns, self.rows, 1, self.columns], np.int64)
        return np.array([self.rows, self.columns, self.columns, 1], np.int64)

    def _steps(self, *steps: tuple[int, int, int]) -> NDArray[np.int64]:
        """(rows back, columns back, weight) as (outer back, inner back, weight), each place once.

        Steps to the entry itself or ahead of it in the row, which images without a width have, are left out.
        """
        found: dict[tuple[int, int], int] = {}
        for down, across, weight in steps:
            if min(down, across) >= 0 and (down, across) != (0, 0):
                found.setdefault((across, down) if self.transposed else (down, across), weight)
        return np.array([(*place, weight) for place, weight in found.items()], np.int64)

    def near(self) -> NDArray[np.int64]:
        """The entries right beside the next one; the most telling weigh 2."""
        w, p = self.width, self.plane
        return self._steps(
            (0, 1, 2), (0, w, 2), (1, 0, 2), (0, p, 1), (0, w - 1, 1), (0, w + 1, 1), (0, 2, 1), (2, 0, 1)
        )

    def far(self) -> NDArray[np.int64]:
        """The entries around those."""
        w = self.width
        return self._steps(
            (0, 3, 1), (3, 0, 1), (0, 2 * w, 1), (0, w - 2, 1), (0, w + 2, 1), (0, 2 * w - 1, 1), (0, 2 * w + 1, 1)
        )

    def alike(self) -> NDArray[np.int64]:
        """The entries whose values are most like the next one's, the best first."""
        w = self.width
        rows = 1 if w else 2
        return self._steps((0, 1, 2), (0, w, 2), (0, w - 1, 1), (0, w + 1, 1), (1, 0, rows), (0, 2 * w, 1), (0, 2, 1))
