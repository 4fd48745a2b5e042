"""Experiments as pieces: weights, masks and training runs that name their parents, each made once.

A piece is a frozen dataclass. Putting pieces together costs nothing; an engine makes those that the store does
not hold yet, and whatever they stand on.
"""

from prunus.laboratory.compensated import Compensated
from prunus.laboratory.connected import Connected
from prunus.laboratory.ended import Ended
from prunus.laboratory.engine import Engine, pool, serial
from prunus.laboratory.factored import Factored
from prunus.laboratory.gradual import GraduallyPruned
from prunus.laboratory.masks import Inverted, Iterated, MaskFile, Pruned, Shuffled
from prunus.laboratory.narrowed import Lassoed, Narrowed, Selected
from prunus.laboratory.packed import Packed
from prunus.laboratory.reparametrised import Reparametrised
from prunus.laboratory.rewired import Rewired
from prunus.laboratory.slimmed import Ranked, Slimmed
from prunus.laboratory.smaller import Redrawn, Shrunk, Size, size
from prunus.laboratory.starts import Acted, Drawn, Perturbed, Rewound
from prunus.laboratory.subset_sums import Approximated, Netted, Summed
from prunus.laboratory.supermasked import BestEdges, Chances, Elsewhere, Frozen, Gems, Masked, Supermasked
from prunus.laboratory.task import Task
from prunus.laboratory.trained import Trained
from prunus.laboratory.transferred import Opened, Transferred

__all__ = [
    "Acted",
    "Approximated",
    "BestEdges",
    "Chances",
    "Compensated",
    "Connected",
    "Drawn",
    "Elsewhere",
    "Ended",
    "Engine",
    "Factored",
    "Frozen",
    "Gems",
    "GraduallyPruned",
    "Inverted",
    "Iterated",
    "Lassoed",
    "MaskFile",
    "Masked",
    "Narrowed",
    "Netted",
    "Opened",
    "Packed",
    "Perturbed",
    "Pruned",
    "Ranked",
    "Redrawn",
    "Reparametrised",
    "Rewired",
    "Rewound",
    "Selected",
    "Shrunk",
    "Shuffled",
    "Size",
    "Slimmed",
    "Summed",
    "Supermasked",
    "Task",
    "Trained",
    "Transferred",
    "pool",
    "serial",
    "size",
]
