"""One random weight for each weight of the target: the epsilon-net of Malach et al. 2020.

So many are drawn that one of them is as near as epsilon: 1 / epsilon of them where a single weight has to be, and
1 / epsilon**2 where two in a row have to be, the first as near to the target as the second is to one.
"""

import torch
from torch import BoolTensor, Tensor

from prunus.construction.choice import Factors, products


def nearest_weight(targets: Tensor, factors: Factors, epsilon: float) -> BoolTensor:
    """The one item that is nearest, or none where that is no further.

    Of paths of two weights (u, v), that with the least max(| |u| - |w| |, |v - s|), where s is the sign with which
    u * s has that of w: as w x = relu(w x) - relu(-w x), one path has to be (w, 1) and one (-w, -1).
    """
    items = products(factors)
    wanted = targets.double()[:, None]
    if len(factors) == 1:
        distances = (items - wanted).abs()
    else:
        first, second = (factor.double() for factor in factors)
        sides = _signs(first) * _signs(wanted)
        distances = torch.maximum((first.abs() - wanted.abs()).abs(), (second - sides).abs())
    places = torch.where(items == 0, torch.inf, distances).argmin(1, keepdim=True)
    better = (items.gather(1, places) - wanted).abs() < wanted.abs()
    return torch.zeros_like(items, dtype=torch.bool).scatter_(1, places, better)  # type: ignore[return-value]


def _signs(values: Tensor) -> Tensor:
    return 1 - 2 * (values < 0).double()
