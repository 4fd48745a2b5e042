"""Scores that ask what a layer reads."""

from torch import Tensor

from prunus.errors import PrunusError
from prunus.tree import Tree, check_names


def wanda(weights: Tree, input_norms: Tree) -> dict[str, Tensor]:
    """|w| times the norm of the input that it multiplies: Wanda, magnitude that knows the scale of the inputs.

    Give `prune` the weights that have norms, {name: weight}: embeddings have none.

    Idea: inputs of large models differ in scale by orders of magnitude, and a small weight on a large input matters.
    Formula: |w_ij| ||x_j||, the square root of the layer error that zeroing w_ij alone causes.
    Source: Sun et al. 2024, "A simple and effective pruning approach for large language models", compared within each
    output: `scope=scope.row`, or `n_of_m`.
    Use: large pretrained networks, without retraining, with some hundred samples; `prunus.layerwise.reconstruct`
    afterwards lowers the layers' errors.
    Cost: a forward pass (`prunus.evidence.input_norms`: (1, in), ... as they multiply the weights).
    Differs: its authors measure block after block, behind blocks that are pruned already (`prunus.layerwise.in_order`),
    and take the root of the mean square, which ranks the same within a layer.
    """
    check_names(input_norms, weights)
    return {name: w.abs() * _fitting(name, w, input_norms[name]) for name, w in weights.items()}


def _fitting(name: str, weight: Tensor, norms: Tensor) -> Tensor:
    if norms.shape[1:] != weight.shape[1:] or norms.shape[0] not in (1, weight.shape[0]):
        raise PrunusError(f"{name}: input norms {tuple(norms.shape)} do not multiply weights {tuple(weight.shape)}.")
    return norms.to(weight.device)
