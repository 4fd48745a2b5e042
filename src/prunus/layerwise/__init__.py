"""Methods that move the weights they keep while they choose them, so that a layer's outputs change least.

Weights and a measurement of the inputs in, weights and a mask out: `(weights, mask) = sparsegpt(model, grams, 0.5)`.
"""

from prunus.layerwise.brain_surgeon import l_obs, obs
from prunus.layerwise.in_order import in_order
from prunus.layerwise.reconstruction import layer_errors, reconstruct
from prunus.layerwise.sparsegpt import sparsegpt
from prunus.layerwise.woodbury import woodfisher

__all__ = ["in_order", "l_obs", "layer_errors", "obs", "reconstruct", "sparsegpt", "woodfisher"]
