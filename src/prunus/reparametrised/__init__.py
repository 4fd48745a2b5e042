"""Pruned or quantised while they are trained: weights that are a function of what is trained, and baked at the end."""

from prunus.reparametrised.hard_concrete import HardConcrete
from prunus.reparametrised.masked import DynamicPruning, Surgery
from prunus.reparametrised.movement import Movement, SoftMovement
from prunus.reparametrised.network import Layer, Method, Reparametrisation
from prunus.reparametrised.quantised import Quantised
from prunus.reparametrised.soft_threshold import SoftThreshold
from prunus.reparametrised.variational import VariationalDropout

__all__ = [
    "DynamicPruning",
    "HardConcrete",
    "Layer",
    "Method",
    "Movement",
    "Quantised",
    "Reparametrisation",
    "SoftMovement",
    "SoftThreshold",
    "Surgery",
    "VariationalDropout",
]
