"""How kept entries of a matrix are packed: 16 rows side by side, their entries in words of 32 bits.

A word of each of 16 rows makes a line. The columns of its entries lie within a window that the line says the start of,
so a few bits tell which: the input at a column is looked up in registers where the window is narrow, in the nearest
cache where it is wide.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """What the 32 bits of a word are: `slots` entries, each a column in the window above the code of its value.

    `cost`: the time that a line takes, in those of the first layout. Of a `narrow` window the last column is
    not used: it says that a slot is empty. Elsewhere that is said by a value of zero, the first of the codebook.
    """

    slots: int
    column_bits: int
    code_bits: int  # 0: the values themselves lie beside the words
    cost: float

    @property
    def bits(self) -> int:
        """Of a slot."""
        return self.column_bits + self.code_bits

    @property
    def narrow(self) -> bool:
        """Whether a window fits two vector registers."""
        return self.column_bits == 5

    @property
    def window(self) -> int:
        """Columns that a line can speak of."""
        return (1 << self.column_bits) - self.narrow

    @property
    def coded(self) -> bool:
        """Whether values are told by codes."""
        return self.code_bits > 0

    @property
    def first_code(self) -> int:
        """The code of the first value of the codebook."""
        return int(self.coded and not self.narrow)

    @property
    def levels(self) -> int:
        """Different values at most, where they are coded."""
        return (1 << self.code_bits) - self.first_code

    def fits(self, columns: int, levels: int) -> bool:
        """Whether a matrix of so many columns and different values is to be packed so: with codes, where they reach."""
        if not self.coded:
            return levels > MOST_LEVELS
        return levels <= self.levels and (columns >= self.window or not self.narrow)


MOST_LEVELS = 255  # of a codebook
LAYOUTS = (Layout(3, 5, 5, 1.0), Layout(2, 11, 5, 2.0), Layout(2, 8, 8, 3.0), Layout(2, 16, 0, 2.5))
