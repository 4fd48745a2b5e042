"""Methods that move the weights they keep while they choose them, so that a layer's outputs change least.

Weights and a measurement of the inputs in, weights and a mask out: `(weights, mask) = sparsegpt(model, grams, 0.5)`.
"""

from prunus.layerwise.brain_surgeon import l_obs, obs
from prunus.layerwise.reconstruction import layer_errors, reconstruct
from prunus.layerwise.sparsegpt import sparsegpt

__all__ = ["l_obs", "layer_errors", "obs", "reconstruct", "sparsegpt"]
