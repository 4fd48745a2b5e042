"""What is an entry worth? Functions from weights (and what else they name) to scores; higher = keep.

A score is any function whose first parameter is `weights` and whose other parameters name the evidence it
needs (`initial`, `gradients`, `generator`, ...); `prunus.prune` passes them by name. Nothing is registered.
"""

from prunus.score.activation import wanda
from prunus.score.chance import chance
from prunus.score.curvature import fisher, obd
from prunus.score.flow import synflow
from prunus.score.gradient import gradient, grasp, momentum, taylor
from prunus.score.magnitude import (
    large_final_different_sign,
    large_final_same_sign,
    large_initial,
    large_initial_large_final,
    magnitude,
    magnitude_increase,
    magnitude_increase_different_sign,
    magnitude_increase_same_sign,
    movement,
    small_final,
    small_initial,
    small_initial_small_final,
)
from prunus.score.units import relevance

__all__ = [
    "chance",
    "fisher",
    "gradient",
    "grasp",
    "large_final_different_sign",
    "large_final_same_sign",
    "large_initial",
    "large_initial_large_final",
    "magnitude",
    "magnitude_increase",
    "magnitude_increase_different_sign",
    "magnitude_increase_same_sign",
    "momentum",
    "movement",
    "obd",
    "relevance",
    "small_final",
    "small_initial",
    "small_initial_small_final",
    "synflow",
    "taylor",
    "wanda",
]
