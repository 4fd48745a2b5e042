"""Network slimming: the largest scales by sorting, and channels that are gone whatever their shift was."""

import pytest
import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.models.description import Description
from prunus.pattern import element
from prunus.scope import count, tensor
from prunus.shrinking import shrink
from prunus.structured import GroupLasso, keep_channels, scales

from ..shrinking.networks import Concatenated, Residual, check_same, drawn

CASES = {
    "residual": (Residual, (2, 3, 6, 6)),
    "concatenation": (Concatenated, (2, 3, 8, 8)),
    "vgg-16": (lambda: Description("vgg-16", (3, 16, 16), 10).make(), (2, 3, 16, 16)),
}


def expected(found, density):
    """(name, channel) of the largest scales of all, and the largest of each layer that would have none."""
    ranked = sorted(((-abs(s), n, k) for n, (name, own) in enumerate(found.items()) for k, s in enumerate(own)))
    names = list(found)
    kept = {(names[n], k) for _, n, k in ranked[: count(density, len(ranked))]}
    for name, own in found.items():
        if not any(owner == name for owner, _ in kept):
            kept.add((name, max(range(len(own)), key=lambda k: (abs(own[k]), -k))))
    return kept


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("density", [0.1, 0.5])
@pytest.mark.parametrize("case", CASES)
def test_the_largest_scales_stay_and_the_others_are_gone(case, density):
    make, shape = CASES[case]
    torch.manual_seed(0)
    model = make().eval()
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, generator=generator)
    mask = keep_channels(model, density)
    found = {name: scale.tolist() for name, scale in scales(model).items()}
    kept = {(name, k) for name in found for k in mask[name].nonzero().flatten().tolist()}
    assert kept == expected(found, density)
    for name in found:
        assert torch.equal(mask[name], mask[name.removesuffix("weight") + "bias"])
    small = shrink(model, mask, example=torch.zeros(shape))
    check_same(model, mask, small, shape)
    if case == "vgg-16":
        assert {name: len(s) for name, s in scales(small).items()} == {n: int(mask[n].sum()) for n in found}
    else:
        assert sum(map(len, scales(small).values())) < sum(map(len, found.values()))


def test_scope_says_who_competes():
    model = drawn(Residual())
    mask = keep_channels(model, 0.5, scope=tensor)
    assert {name: int(mask[name].sum()) for name in scales(model)} == {
        "stem_norm.weight": 3,
        "norms.0.weight": 3,
        "norms.1.weight": 3,
    }


def test_a_proximal_step_takes_scales_to_zero():
    """Soft thresholding by hand, strength times the learning rate."""
    model = nn.BatchNorm1d(4)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([0.05, -0.3, 0.1, 1.0]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    GroupLasso(optimizer, scales(model), 0.2, pattern=element)()
    torch.testing.assert_close(model.weight.detach(), torch.tensor([0.0, -0.2, 0.0, 0.9]))


def test_without_batchnorm():
    with pytest.raises(PrunusError, match="Linear has no BatchNorm scales"):
        keep_channels(nn.Linear(2, 2), 0.5)
