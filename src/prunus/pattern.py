"""Which entries live or die together? A pattern makes atom scores of scores, and entries of kept atoms."""

from dataclasses import dataclass
from typing import Protocol

from torch import Size, Tensor

from prunus.errors import PrunusError


class Pattern(Protocol):
    """Two functions of one tensor; `prunus.testing.check_pattern` holds them to the contract."""

    def atoms(self, score: Tensor) -> Tensor:
        """Scores of the atoms of a tensor with these entry scores: an atom's is the sum of its entries'."""
        ...

    def entries(self, kept: Tensor, shape: Size) -> Tensor:
        """What `kept` has of each atom, bool or of another type, at all the entries of the atom, of `shape`."""
        ...


@dataclass(frozen=True)
class _Element:
    def atoms(self, score: Tensor) -> Tensor:
        return score

    def entries(self, kept: Tensor, shape: Size) -> Tensor:
        return kept


element = _Element()
"""Every entry for itself: unstructured pruning."""


@dataclass(frozen=True)
class block:  # noqa: N801  # used like the functions beside it: pattern=block(4, 4)
    """Blocks of `rows` x `columns` entries of the tensor seen as a matrix (first dimension, all others)."""

    rows: int
    columns: int

    def atoms(self, score: Tensor) -> Tensor:
        """(rows of blocks, columns of blocks)."""
        high, wide = self._blocks(score.shape)
        return score.reshape(high, self.rows, wide, self.columns).sum((1, 3))

    def entries(self, kept: Tensor, shape: Size) -> Tensor:
        """Each block's decision at its `rows` x `columns` entries."""
        return kept.repeat_interleave(self.rows, 0).repeat_interleave(self.columns, 1).reshape(shape)

    def _blocks(self, shape: Size) -> tuple[int, int]:
        rows, columns = shape[0], shape[1:].numel()
        if rows % self.rows or columns % self.columns:
            raise PrunusError(
                f"blocks of {self.rows} x {self.columns} do not divide a {rows} x {columns} matrix "
                f"(shape {tuple(shape)})."
            )
        return rows // self.rows, columns // self.columns


@dataclass(frozen=True)
class channel:  # noqa: N801
    """Slices along `dimension`: 0 for filters and output units, 1 for input channels."""

    dimension: int = 0

    def atoms(self, score: Tensor) -> Tensor:
        """(size of the dimension,)."""
        self._check(score.shape)
        return score.movedim(self.dimension, 0).flatten(1).sum(1)

    def entries(self, kept: Tensor, shape: Size) -> Tensor:
        """Each channel's decision at all its entries."""
        self._check(shape)
        sizes = [1] * len(shape)
        sizes[self.dimension] = -1
        return kept.reshape(sizes).expand(shape).contiguous()

    def _check(self, shape: Size) -> None:
        if not -len(shape) <= self.dimension < len(shape):
            raise PrunusError(f"channel({self.dimension}) needs that dimension, found shape {tuple(shape)}.")


@dataclass(frozen=True)
class _Column:
    def atoms(self, score: Tensor) -> Tensor:
        return score.flatten(1).sum(0)

    def entries(self, kept: Tensor, shape: Size) -> Tensor:
        return kept.reshape(1, *shape[1:]).expand(shape).contiguous()


column = _Column()
"""The entries at one place of all filters: columns of the tensor seen as a matrix, "shapes" in Wen et al. 2016."""


@dataclass(frozen=True)
class _Whole:
    def atoms(self, score: Tensor) -> Tensor:
        return score.sum().reshape(1)

    def entries(self, kept: Tensor, shape: Size) -> Tensor:
        return kept.expand(shape.numel()).reshape(shape).contiguous()


whole = _Whole()
"""All of a tensor: a layer lives or dies, "depth" in Wen et al. 2016."""


@dataclass(frozen=True)
class head:  # noqa: N801
    """Runs of `size` neighbouring channels along `dimension`: the heads of an attention projection."""

    size: int
    dimension: int = 0

    def atoms(self, score: Tensor) -> Tensor:
        """(number of heads,)."""
        channels = channel(self.dimension).atoms(score)
        if len(channels) % self.size:
            raise PrunusError(
                f"heads of {self.size} do not divide {len(channels)} channels (shape {tuple(score.shape)})."
            )
        return channels.reshape(-1, self.size).sum(1)

    def entries(self, kept: Tensor, shape: Size) -> Tensor:
        """Each head's decision at all entries of its channels."""
        return channel(self.dimension).entries(kept.repeat_interleave(self.size), shape)
