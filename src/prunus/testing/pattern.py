"""`check_pattern`: what `prune` relies on in a pattern."""

from collections.abc import Sequence

import torch
from torch import Size

from prunus.pattern import Pattern


def check_pattern(pattern: Pattern, shapes: Sequence[tuple[int, ...]] = ((8, 8), (8, 4, 3, 3))) -> None:
    """Hold `pattern` to its contract on tensors of `shapes` (all of which it must divide).

    Atoms partition the entries: every entry belongs to exactly one atom, `entries` gives each atom all of its
    entries, whatever the type of what it gives them, and an atom's score is the sum of its entries' scores.
    """
    for shape in map(Size, shapes):
        score = torch.arange(shape.numel(), dtype=torch.float64).reshape(shape)
        atoms = pattern.atoms(score)
        owners = torch.zeros(shape, dtype=torch.long)
        for index in range(atoms.numel()):
            only = torch.zeros(atoms.numel(), dtype=torch.bool)
            only[index] = True
            entries = pattern.entries(only.reshape(atoms.shape), shape)
            assert entries.shape == shape, f"{shape}: entries have shape {tuple(entries.shape)}"
            assert entries.dtype == torch.bool, f"{shape}: entries are {entries.dtype}, not bool"
            assert entries.any(), f"{shape}: atom {index} has no entries"
            owners += entries
            total, expected = float(atoms.reshape(-1)[index]), float(score[entries].sum())
            assert total == expected, f"{shape}: atom {index} scores {total}, its entries sum to {expected}"
        assert bool((owners == 1).all()), f"{shape}: some entries belong to no atom or to several"
        everything = pattern.entries(torch.ones_like(atoms, dtype=torch.bool), shape)
        assert everything.all(), f"{shape}: keeping every atom does not keep every entry"
        halves = pattern.entries(torch.full_like(atoms, 0.5), shape)
        assert bool((halves == 0.5).all()), f"{shape}: the entries of an atom with the number 0.5 have another"
