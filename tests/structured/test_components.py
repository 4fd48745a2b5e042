"""Principal components: exact against the data itself."""

import pytest
import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.pattern import channel
from prunus.pruning import prune
from prunus.shrinking import shrink
from prunus.structured import component, in_components
from prunus.testing import check_score

from ..shrinking.networks import check_same, convolutional, drawn


def correlated(rows=200, columns=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64) @ mixing + 0.5


def test_the_score_of_a_component_is_what_removing_it_changes():
    """Oracle: the mean squared change of W u on the data, by projecting the data itself."""
    model, inputs = nn.Linear(6, 4).double(), correlated()
    network, variances = in_components(model, ["weight"], [(part, None) for part in inputs.split(70)])
    with torch.no_grad():
        torch.testing.assert_close(network(inputs), model(inputs), atol=1e-12, rtol=1e-12)
        weight = network.reader.weight.detach()
        scores = channel(1).atoms(component({"reader.weight": weight}, variances)["reader.weight"])
        basis = network.basis.weight
        torch.testing.assert_close(basis @ basis.T, torch.eye(6).double(), atol=1e-12, rtol=0)
        for removed in ([0], [5], [1, 3], [0, 2, 4]):
            left = inputs - inputs @ basis[removed].T @ basis[removed]
            change = (model(inputs) - model(left)).square().sum(1).mean()
            torch.testing.assert_close(scores[removed].sum(), change, atol=1e-12, rtol=1e-11)
    assert variances["reader.weight"].tolist() == sorted(variances["reader.weight"].tolist(), reverse=True)


def test_what_is_kept_is_the_best_choice_of_components():
    """Oracle: every choice of 3 of 6 is tried on the data."""
    from itertools import combinations

    model, inputs = nn.Linear(6, 2).double(), correlated(seed=3)
    network, variances = in_components(model, ["weight"], [(inputs, None)])
    mask = prune(
        {"reader.weight": network.reader.weight.detach()}, component, 0.5, pattern=channel(1), variances=variances
    )
    basis = network.basis.weight.detach()
    with torch.no_grad():
        changes = {
            kept: float((model(inputs) - model(inputs @ basis[list(kept)].T @ basis[list(kept)])).square().sum())
            for kept in combinations(range(6), 3)
        }
    assert tuple(mask["reader.weight"].any(0).nonzero().flatten().tolist()) == min(changes, key=changes.get)


def test_components_are_really_gone():
    model = drawn(convolutional()).eval()
    shape = (8, 2, 8, 8)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network, variances = in_components(model, ["4.weight", "8.weight", "10.weight"], [(inputs, None)])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        expected = model(inputs)
        assert (network(inputs) - expected).abs().max() <= 2e-5 * expected.abs().max()
    readers = {name: network.get_parameter(name).detach() for name in variances}
    mask = prune(readers, component, 0.5, pattern=channel(1), variances=variances)
    small = shrink(network, mask, example=inputs)
    check_same(network, mask, small, shape)
    for name in variances:
        reader = small.get_submodule(name.removesuffix(".weight"))
        basis = small.get_submodule(name.removesuffix("reader.weight") + "basis")
        assert len(basis.weight) == reader.weight.shape[1] == int(mask[name].transpose(0, 1).flatten(1).any(1).sum())
    assert sum(len(small.get_submodule(f"{place}.basis").weight) for place in (4, 8, 10)) == (6 + 5 + 7) // 2


def test_the_score_keeps_the_contract():
    check_score(component)


def test_refusals():
    grouped = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2))
    with pytest.raises(PrunusError, match=r"0\.weight is of Conv2d, expected Linear or Conv2d without groups"):
        in_components(grouped, ["0.weight"], [])
    with pytest.raises(PrunusError, match=r"1\.weight is not a parameter of Sequential"):
        in_components(grouped, ["1.weight"], [])
    with pytest.raises(PrunusError, match="weight: no input was seen"):
        in_components(nn.Linear(2, 2), ["weight"], [])
