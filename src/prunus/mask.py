"""Which entries live: `{parameter name: bool tensor}`, True = kept."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from prunus.errors import FormatError, PrunusError
from prunus.files import sort_metadata, written_whole
from prunus.tree import Tree, assign, parameters, weights, zipped


class Mask(Mapping[str, Tensor]):
    """Kept entries of named tensors; immutable in spirit, every operation returns a new mask.

    >>> mask = Mask({"weight": torch.tensor([[True, False], [False, False]])})
    >>> mask.density, (~mask).density
    (0.25, 0.75)
    """

    def __init__(self, tensors: Tree) -> None:
        for name, tensor in tensors.items():
            if tensor.dtype != torch.bool:
                raise PrunusError(f"{name}: a mask is boolean, found {tensor.dtype}.")
        self._tensors = dict(tensors)

    @classmethod
    def dense(cls, model: nn.Module) -> Self:
        """Everything kept, for the prunable weights of `model`."""
        return cls({name: torch.ones_like(w, dtype=torch.bool) for name, w in weights(model).items()})

    @classmethod
    def of_nonzero(cls, model: nn.Module) -> Self:
        """The mask that a pruned checkpoint carries in its zeros, for the prunable weights of `model`."""
        return cls({name: w.detach() != 0 for name, w in weights(model).items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask) or self.keys() != other.keys():
            return NotImplemented if not isinstance(other, Mask) else False
        return all(torch.equal(kept, other[name]) for name, kept in self.items())

    __hash__ = None  # type: ignore[assignment]  # equal by content, and the content is mutable tensors

    def __repr__(self) -> str:
        return f"Mask({self.kept:,} of {self.total:,} kept, density {self.density:.4g})"

    @property
    def kept(self) -> int:
        """Number of kept entries."""
        return sum(int(kept.sum()) for kept in self.values())

    @property
    def total(self) -> int:
        """Number of entries, kept or not."""
        return sum(kept.numel() for kept in self.values())

    @property
    def density(self) -> float:
        """Kept / total; 1.0 for a mask without entries."""
        return self.kept / self.total if self.total else 1.0

    def densities(self) -> dict[str, float]:
        """Kept / total of each tensor."""
        return {name: int(kept.sum()) / max(kept.numel(), 1) for name, kept in self.items()}

    def apply(self, tree: Tree) -> dict[str, Tensor]:
        """Copies of `tree`'s tensors with exact zeros (never -0.0) at pruned entries.

        Tensors that the mask does not name are passed on as they are.
        """
        missing = [name for name in self if name not in tree]
        if missing:
            raise PrunusError(f"the mask's {', '.join(missing[:3])} not among the tensors.")
        return {
            name: torch.where(self._fitting(name, tensor), tensor, 0) if name in self else tensor
            for name, tensor in tree.items()
        }

    def apply_to(self, model: nn.Module) -> None:
        """Zero the pruned entries of `model`'s parameters in place."""
        own = parameters(model)
        missing = [name for name in self if name not in own]
        if missing:
            raise PrunusError(f"the mask's {', '.join(missing[:3])} not in {type(model).__name__}.")
        assign(model, self.apply({name: own[name].detach() for name in self}))

    def _fitting(self, name: str, tensor: Tensor) -> Tensor:
        kept = self[name]
        if kept.shape != tensor.shape:
            raise PrunusError(f"{name}: mask {tuple(kept.shape)} != tensor {tuple(tensor.shape)}.")
        return kept.to(tensor.device)

    def to(self, device: torch.device | str) -> Self:
        """The same mask on `device`."""
        return type(self)({name: kept.to(device) for name, kept in self.items()})

    def __and__(self, other: "Mask") -> Self:
        return self._combined(other, torch.logical_and)

    def __or__(self, other: "Mask") -> Self:
        return self._combined(other, torch.logical_or)

    def __invert__(self) -> Self:
        return type(self)({name: ~kept for name, kept in self.items()})

    def _combined(self, other: "Mask", combine: Callable[[Tensor, Tensor], Tensor]) -> Self:
        return type(self)({name: combine(a, b) for name, (a, b) in zipped(self, other)})

    def shuffled(self, generator: torch.Generator) -> Self:
        """Each tensor's kept entries at random places of the same tensor: its density stays exactly.

        The layer-wise shuffle of "Sanity-checking pruning methods" (Su et al. 2020) and "Pruning neural
        networks at initialization" (Frankle et al. 2021).
        """
        shuffled = {}
        for name, kept in self.items():
            order = torch.randperm(kept.numel(), generator=generator, device=generator.device)
            shuffled[name] = kept.reshape(-1)[order.to(kept.device)].reshape(kept.shape)
        return type(self)(shuffled)

    def distance(self, other: "Mask") -> float:
        """Fraction of entries on which two masks differ: the normalised Hamming distance, 0 to 1."""
        differing = sum(int((a != b).sum()) for _, (a, b) in zipped(self, other))
        return differing / max(self.total, 1)

    def overlap(self, other: "Mask") -> float:
        """Entries kept by both / entries kept by either (Jaccard); 1.0 where neither keeps any."""
        either = (self | other).kept
        return (self & other).kept / either if either else 1.0

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `.safetensors` file with eight entries a byte (lowest bit first), whole or not at all."""
        packed = {
            name: torch.from_numpy(np.packbits(kept.cpu().numpy().reshape(-1), bitorder="little"))
            for name, kept in self.items()
        }
        shapes = json.dumps({name: list(kept.shape) for name, kept in self.items()})
        with written_whole(path) as temporary:
            save_file(packed, temporary, metadata={"prunus_mask": "1", "shapes": shapes})
            sort_metadata(temporary)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; raises `FormatError` for anything else."""
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("prunus_mask") != "1":
                    raise FormatError(f"{os.fspath(path)} is not a mask file of version 1.")
                shapes = json.loads(metadata["shapes"])
                return cls({name: _unpacked(name, file.get_tensor(name), shapes) for name in shapes})
        except (SafetensorError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise FormatError(f"{os.fspath(path)} is not a mask file: {error}.") from error


def _unpacked(name: str, packed: Tensor, shapes: dict[str, list[int]]) -> Tensor:
    shape = shapes[name]
    if not all(type(size) is int and size >= 0 for size in shape):
        raise FormatError(f"{name}: {shape} is not a shape.")
    count = prod(shape)
    if packed.dtype != torch.uint8 or packed.ndim != 1 or len(packed) != (count + 7) // 8:
        raise FormatError(f"{name}: {packed.numel()} packed bytes cannot hold a mask of shape {shape}.")
    bits = np.unpackbits(packed.numpy(), bitorder="little")
    if bits[count:].any():
        raise FormatError(f"{name}: padding bits are set.")
    return torch.from_numpy(bits[:count].astype(np.bool_)).reshape(shape)


def check_density(density: float, name: str = "density") -> None:
    """Raise `PrunusError` for a density, or what `name` says, outside (0, 1]."""
    if not 0 < density <= 1:
        raise PrunusError(f"{name} {density} is outside (0, 1].")
