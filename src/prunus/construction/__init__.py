"""The strong lottery ticket made to run: random networks that, pruned and never trained, compute what yours does.

`reading` takes the target apart; a structure (`linear`, `linear_by_row`, `diamond`) puts random layers in the place of
one of its layers; a choice (`nearest_subset`, `smallest_subset`, `nearest_weight`, `golden_series`) says which random
weights stay; `approximate` does it to a whole network, `certified` bounds the distance, `ascent` looks for the worst.
"""

from prunus.construction.ascent import worst_input
from prunus.construction.choice import nearest_subset, smallest_subset
from prunus.construction.diamond import diamond
from prunus.construction.epsilon_net import nearest_weight
from prunus.construction.golden import golden_series
from prunus.construction.linear import linear, linear_by_row
from prunus.construction.network import approximate
from prunus.construction.plain import fully_connected
from prunus.construction.result import Construction
from prunus.distribution import Hyperbolic, Uniform

__all__ = [
    "Construction",
    "Hyperbolic",
    "Uniform",
    "approximate",
    "diamond",
    "fully_connected",
    "golden_series",
    "linear",
    "linear_by_row",
    "nearest_subset",
    "nearest_weight",
    "smallest_subset",
    "worst_input",
]
