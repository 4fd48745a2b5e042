"""2:4 masks on a GPU whose tensor cores leave the zeros out, by `torch.sparse.to_sparse_semi_structured`."""

import torch
from torch import Tensor, nn

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.sparse.network import Sparsified
from prunus.sparse.swapping import swappable
from prunus.tree import unwrapped

# rows and columns of a weight are multiples of these: what both of torch's ways, CUTLASS and cuSPARSELt, take
MULTIPLES = {torch.float16: (32, 64), torch.bfloat16: (32, 64)}
CAPABILITY = (8, 0)  # Ampere


def to_semi_structured(model: nn.Module, mask: Mask) -> Sparsified:
    """Convert, in place, the weights of Linear layers of which `mask` keeps 2 of 4, for inference on a CUDA GPU.

    `model` is there already, in float16 or bfloat16. Weights of layers that cannot be converted stay dense, with zeros
    where the mask has them, and the result says why. Raises `PrunusError` where there is no such GPU, where
    `model` is not on it, and for names and shapes of the mask that do not fit.
    """
    model = unwrapped(model)
    layers, dense = swappable(model, mask)
    _check_device(model)
    mask.apply_to(model)
    converted = []
    for name, kept in layers.items():
        module = model.get_submodule(name)
        assert isinstance(module, nn.Linear | nn.Conv2d)
        weight = module.weight.detach()
        if reason := unfit(weight, kept):
            dense[f"{name}.weight"] = reason
            continue
        made = torch.sparse.to_sparse_semi_structured(weight.contiguous())
        module.weight = nn.Parameter(made, requires_grad=False)
        converted.append(name)
    left = Mask({name: kept for name, kept in mask.items() if name.rpartition(".")[0] not in converted})
    return Sparsified(tuple(converted), dense, {}, left)


def is_two_of_four(kept: Tensor) -> bool:
    """Whether a boolean `kept` (outputs, inputs) has at most two of every four neighbours in a row.

    >>> is_two_of_four(torch.tensor([[True, False, False, True], [False, True, False, False]]))
    True
    """
    if kept.ndim != 2 or kept.shape[1] % 4:
        return False
    return int(kept.reshape(-1, 4).sum(1).amax()) <= 2 if kept.numel() else True


def unfit(weight: Tensor, kept: Tensor) -> str:
    """Why `weight` with this mask cannot be converted; empty where it can."""
    if weight.ndim != 2:
        return "no linear layer"
    if not is_two_of_four(kept):
        return "of which more than 2 of 4 are kept"
    if weight.dtype not in MULTIPLES:
        return f"of {weight.dtype}, where float16 or bfloat16 can be"
    rows, columns = MULTIPLES[weight.dtype]
    if not weight.numel() or weight.shape[0] % rows or weight.shape[1] % columns:
        return f"of {tuple(weight.shape)}, where multiples of {(rows, columns)} can be"
    return ""


def _check_device(model: nn.Module) -> None:
    needed = "2:4 layers need a CUDA GPU of compute capability 8.0 or above"
    if not torch.cuda.is_available():
        raise PrunusError(f"{needed}, and torch {torch.__version__} finds no CUDA GPU here.")
    places = {parameter.device for parameter in model.parameters()}
    if any(place.type != "cuda" for place in places):
        raise PrunusError(f"{needed}, found weights on {', '.join(sorted(map(str, places)))}.")
    for place in places:
        if (found := torch.cuda.get_device_capability(place)) < CAPABILITY:
            raise PrunusError(f"{needed}, found {found[0]}.{found[1]} on {place}.")
