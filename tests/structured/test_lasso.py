"""Group lasso: proximal steps against brute force, trained weights against the optimality conditions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.mask import Mask
from prunus.models.description import Description
from prunus.pattern import block, channel, column, element, head, whole
from prunus.shrinking import shrink, spread, wiring
from prunus.structured import GroupLasso, penalty, proximal
from prunus.tree import weights

from ..shrinking.networks import check_same

PATTERNS = [element, channel(0), channel(1), column, whole, block(2, 3), head(2)]


def groups(pattern, shape):
    """The entries of each group, by asking for one at a time."""
    atoms = pattern.atoms(torch.zeros(shape))
    ones = torch.eye(atoms.numel(), dtype=torch.bool).reshape(-1, *atoms.shape)
    return [pattern.entries(one, torch.Size(shape)).reshape(-1) for one in ones]


def objective(v, w, pattern, threshold):
    length = sum(v.reshape(-1)[own].norm() for own in groups(pattern, w.shape))
    return float((v - w).square().sum() / 2 + threshold * length)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@given(seed=st.integers(0, 999), threshold=st.sampled_from([0.0, 0.3, 1.0, 4.0]))
def test_nothing_near_or_far_is_lower_than_the_proximal_point(pattern, seed, threshold):
    """The objective is strongly convex: the least is where no step in any direction goes down."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    w[:, 1] *= 0.1
    found = proximal(w, pattern, threshold)
    least = objective(found, w, pattern, threshold)
    for size in (1e-6, 1e-3, 0.1, 1.0):
        for _ in range(8):
            step = torch.randn(4, 3, dtype=torch.float64, generator=generator)
            distance = float((size * step).square().sum()) / 2
            assert objective(found + size * step, w, pattern, threshold) >= least + distance - 1e-12
    for other in (w, torch.zeros_like(w)):
        assert objective(other, w, pattern, threshold) >= least - 1e-12


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_a_minimiser_that_knows_nothing_of_it_finds_the_same(pattern):
    """Oracle: each group alone, its length by a search over a fine grid and golden sections, its direction kept."""
    w = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    expected = torch.zeros_like(w).reshape(-1)
    for own in groups(pattern, w.shape):
        part = w.reshape(-1)[own]
        low, high = 0.0, 1.0
        for _ in range(200):  # ternary search of a convex function of the factor
            a, b = low + (high - low) / 3, high - (high - low) / 3
            values = [float((f * part - part).square().sum() / 2 + 0.8 * f * part.norm()) for f in (a, b)]
            low, high = (low, b) if values[0] <= values[1] else (a, high)
        expected[own] = part * high
    torch.testing.assert_close(proximal(w, pattern, 0.8).reshape(-1), expected, atol=1e-7, rtol=0)


def test_zeros_are_plain_zeros_and_a_threshold_of_zero_changes_nothing():
    w = torch.tensor([[-0.5, -0.5], [0.0, -0.0], [3.0, -4.0]])
    found = proximal(w, channel(0), 1.0)
    assert found[:2].view(torch.int32).tolist() == [[0, 0], [0, 0]]
    assert torch.equal(proximal(w, channel(0), 0.0), w)
    assert proximal(w.bfloat16(), channel(0), 1.0).dtype == torch.bfloat16


def test_the_penalty_and_its_slope():
    values = {"a": torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)}
    length = penalty(values, channel(0)) + 2 * penalty(values, whole)
    assert length.item() == 15.0
    length.backward()
    torch.testing.assert_close(values["a"].grad, torch.tensor([[1.8, 2.4], [0.0, 0.0]]))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("pattern", [channel(0), channel(1)], ids=str)
def test_training_settles_where_the_optimality_conditions_hold(pattern, momentum):
    """Least squares: the slope of a group is -strength w_g / |w_g|, or no longer than the strength where it is zero."""
    generator = torch.Generator().manual_seed(0)
    x, target = torch.randn(40, 6, generator=generator).double(), torch.randn(4, 6, generator=generator).double()
    target[1] *= 0.02
    target[:, 2] *= 0.02
    model, strength = nn.Linear(6, 4, bias=False).double(), 0.4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=momentum)
    regularise = GroupLasso(optimizer, weights(model), strength, pattern=pattern)
    for step in range(800):
        optimizer.zero_grad()
        loss = (model(x) - x @ target.T).square().sum() / 2 / len(x)
        loss.backward()
        optimizer.step()
        regularise(step + 1)
    optimizer.zero_grad()
    ((model(x) - x @ target.T).square().sum() / 2 / len(x)).backward()
    dimension = pattern.dimension
    zero = 0
    for w, slope in zip(model.weight.detach().unbind(dimension), model.weight.grad.unbind(dimension), strict=True):
        if w.any():
            torch.testing.assert_close(-slope, strength * w / w.norm(), atol=1e-9, rtol=0)
        else:
            zero += 1
            assert slope.norm() <= strength
    assert zero == 1


def test_filters_that_training_zeroes_are_really_gone():
    torch.manual_seed(0)
    model = Description("resnet-20", (3, 8, 8), 10).make()
    inner = {name: weight for name, weight in weights(model).items() if "conv1" in name and "layer" in name}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    regularise = GroupLasso(optimizer, inner, 2.3, pattern=channel(0))
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(8, 3, 8, 8)), torch.arange(8)).backward()
        optimizer.step()
        regularise()
    mask = Mask.of_nonzero(model)
    mask = spread(mask, wiring(model, example=torch.randn(2, 3, 8, 8)))
    small = shrink(model, mask, example=torch.randn(2, 3, 8, 8))
    check_same(model, mask, small, (2, 3, 8, 8))
    for name in inner:
        kept = int(mask[name].flatten(1).any(1).sum())
        assert small.get_parameter(name).shape[0] == max(kept, 1)
    assert 0 < sum(int(mask[name].flatten(1).any(1).sum()) for name in inner) < sum(map(len, inner.values()))


def test_what_is_held_stays_exactly_zero():
    model = nn.Linear(4, 3)
    optimizer = torch.optim.Adam(model.parameters())
    mask = Mask({"weight": torch.tensor([[True, False, True, True]] * 3)})
    with hold(optimizer, model, mask) as held:
        regularise = GroupLasso(optimizer, weights(model), 1.0, pattern=channel(0))
        for _ in range(3):
            model(torch.randn(5, 4)).square().sum().backward()
            optimizer.step()
            regularise()
            held.verify()


def test_refusals():
    model, optimizer = nn.Linear(2, 2), torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(PrunusError, match=r"not in this optimizer: \['weight'\]"):
        GroupLasso(optimizer, weights(model), 1.0, pattern=channel(0))
    with pytest.raises(PrunusError, match="strength nan of the penalty"):
        GroupLasso(optimizer, {}, float("nan"), pattern=channel(0))
    with pytest.raises(PrunusError, match="a threshold is not negative, found -1"):
        proximal(torch.zeros(2, 2), element, -1.0)
