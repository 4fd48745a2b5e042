"""Masks learned over weights that are drawn once and never trained: a network is a seed and a mask."""

from prunus.supermask.bernoulli import Bernoulli
from prunus.supermask.edge_popup import EdgePopup
from prunus.supermask.gem_miner import GemMiner
from prunus.supermask.learning import Learning, bake
from prunus.supermask.start import Start
from prunus.supermask.supermask import Supermask

__all__ = ["Bernoulli", "EdgePopup", "GemMiner", "Learning", "Start", "Supermask", "bake"]
