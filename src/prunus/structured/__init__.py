"""Whole filters, channels, units and layers: penalties that empty them, and choices that look at what they do.

Masks of whole channels are made by `prune` with a pattern and `scope.together`; what is here adds the ways of the
literature that need more: training that pushes groups to zero (`lasso`, `slimming`), choices in the order of the layers
(`filters`), new weights for what stays (`reconstruction`), other coordinates (`components`). Each ends in `shrink`.
"""

from prunus.structured.components import component, in_components
from prunus.structured.filters import prune_greedily
from prunus.structured.lasso import GroupLasso, penalty, proximal
from prunus.structured.reconstruction import Reconstruction, refit_channels, select_channels
from prunus.structured.slimming import keep_channels, scales

__all__ = [
    "GroupLasso",
    "Reconstruction",
    "component",
    "in_components",
    "keep_channels",
    "penalty",
    "proximal",
    "prune_greedily",
    "refit_channels",
    "scales",
    "select_channels",
]
