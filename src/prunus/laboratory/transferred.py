"""A ticket of one task made fit for another: its weights and mask with an output layer of the other's own."""

from dataclasses import dataclass

import torch

from prunus.mask import Mask
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece
from prunus.tree import prunable, zipped


@dataclass(frozen=True, eq=False)
class Transferred:
    """`weights` as the start of another training, with the tensors `renewed` from `fresh`, weights of that task."""

    weights: Piece
    fresh: Piece
    renewed: tuple[str, ...] = ()

    def make(self, bench: Bench) -> Outcome:
        """Put the two together; raises `PrunusError` where other tensors than `renewed` differ in shape."""
        old, fresh = bench.result(self.weights), bench.result(self.fresh)
        renewed = {name: fresh.weights[name] for name in self.renewed}
        weights = {name: value for name, (value, _) in zipped({**old.weights, **renewed}, fresh.weights)}
        return Outcome(Snapshot(weights, old.buffers, None, 0, fresh.random, None, {}))


@dataclass(frozen=True, eq=False)
class Opened:
    """`mask` with everything kept of the tensors `opened`, in the sizes that they have in the weights `like`."""

    mask: Piece
    like: Piece
    opened: tuple[str, ...] = ()

    def make(self, bench: Bench) -> Outcome:
        """Open it."""
        mask: Mask = bench.result(self.mask)
        sizes = prunable(bench.result(self.like).weights)
        opened = {name: torch.ones_like(sizes[name], dtype=torch.bool) for name in self.opened if name in mask}
        found = Mask({**mask, **opened})
        return Outcome(found, {"density": found.density, "densities": found.densities()})
