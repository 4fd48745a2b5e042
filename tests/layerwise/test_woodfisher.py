"""Pruning by a curvature of few columns against `obs` with the whole inverse, and against least squares."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from prunus import scope
from prunus.curvature import curvature_factors, inverse_hessian, samples
from prunus.errors import PrunusError
from prunus.layerwise import obs, woodbury, woodfisher

from .problems import correlated, greedy, solved


def network():
    """A network of 54 weights, and 12 rows for it in two batches."""
    torch.manual_seed(0)
    inputs, labels = torch.randn(12, 6, dtype=torch.float64), torch.arange(12) % 3
    parts = list(zip(inputs.split(7), labels.split(7), strict=True))
    return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)).double(), parts


@pytest.mark.parametrize("where", [scope.network, scope.tensor, scope.row], ids=["network", "tensor", "row"])
@pytest.mark.parametrize("density", [0.05, 0.3, 0.7, 1.0])
def test_one_at_a_time_it_is_obs(where, density):
    """More weights than columns, and fewer once some have gone."""
    model, batches = network()
    factors = curvature_factors(model, batches)
    assert factors.shape == (36, 54)
    inverse = inverse_hessian(model, batches, damping=1e-3)
    found, mask = woodfisher(model, factors, density, damping=1e-3, share=0, scope=where)
    expected, wanted = obs(model, inverse, density, scope=where)
    assert mask == wanted
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("at_once", [1, 1 << 24])
@pytest.mark.parametrize("keep", [1, 4, 7])
def test_a_linear_model_is_solved_by_least_squares(monkeypatch, keep, at_once):
    monkeypatch.setattr(woodbury, "AT_ONCE", at_once)
    weights, inputs = correlated(rows=1, columns=10)
    moved, mask = woodfisher({"w": weights}, inputs, keep / 10, damping=1e-8, share=0)
    kept = greedy(weights[0], inputs, keep)
    assert torch.equal(mask["w"][0], kept)
    torch.testing.assert_close(moved["w"][0], solved(weights[0], inputs, kept)[0], rtol=1e-4, atol=1e-5)


def test_many_at_a_time_move_the_others_as_exactly():
    """Oracle: the quadratic of all weights solved on those kept, by the matrix written out."""
    model, batches = network()
    factors = curvature_factors(model, batches)
    moved, mask = woodfisher(model, factors, 0.4, damping=1e-3, share=0.5)
    matrix = factors.T @ factors + 1e-3 * torch.eye(54, dtype=torch.float64)
    kept, before, after = (
        torch.cat([tree[name].detach().reshape(-1) for name in mask])
        for tree in (mask, dict(model.named_parameters()), moved)
    )
    expected = torch.linalg.solve(matrix[kept][:, kept], matrix[kept] @ before)
    torch.testing.assert_close(after[kept], expected, rtol=1e-8, atol=1e-10)
    assert not after[~kept].any()
    first = before.square() / torch.linalg.inv(matrix).diagonal()  # half go by these
    assert not kept[first.argsort()[:27]].any()


class Largest(TorchDispatchMode):
    """Notes the entries of the largest tensor that is made."""

    entries = 0

    def __torch_dispatch__(self, function, types, given=(), named=None):
        made = function(*given, **(named or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            self.entries = max(self.entries, one.numel() if isinstance(one, torch.Tensor) else 0)
        return made


def test_many_weights_take_some_numbers_each(monkeypatch):
    """Oracle: at a minimum among those kept, the quadratic has no slope along them."""
    monkeypatch.setattr(woodbury, "AT_ONCE", 1 << 18)
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(400, 500, generator=generator) for name in "ab"}
    factors = torch.randn(16, 400_000, generator=generator)
    with Largest() as largest:
        moved, mask = woodfisher(weights, factors, 0.02, damping=1.0, share=0.3)
    assert largest.entries == 400_000
    assert mask.kept == 8_000
    kept, before, after = (torch.cat([tree[n].reshape(-1) for n in "ab"]) for tree in (mask, weights, moved))
    change, among = after.double() - before, factors.double()
    slope = change + among.T @ (among @ change)
    assert float(slope[kept].abs().max()) < 1e-3 < float(slope[~kept].abs().median())
    assert float(change[kept].abs().max()) > 0.1
    assert not after[~kept].any()


def test_factors_are_of_the_gauss_newton_matrix():
    """Whole of each row, and in the mean where their signs are drawn."""
    model, batches = network()
    inputs, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    inverse = inverse_hessian(model, batches, damping=1.0)
    matrix = torch.linalg.inv(inverse) - torch.eye(54, dtype=torch.float64)
    whole = curvature_factors(model, batches)
    torch.testing.assert_close(whole.T @ whole, matrix, rtol=1e-6, atol=1e-9)
    assert not whole.requires_grad  # or a graph of every sample stays in memory
    assert not inverse.requires_grad
    drawn = torch.Generator().manual_seed(0)
    one = curvature_factors(model, [(inputs, labels)], generator=drawn)
    assert one.shape == (12, 54)
    many = curvature_factors(model, [(inputs.repeat(3000, 1), labels.repeat(3000))], generator=drawn)
    assert float((many.T @ many - matrix).norm() / matrix.norm()) < 0.05
    assert float((one.T @ one - matrix).norm() / matrix.norm()) > 0.1


def test_equal_weights_go_by_highest_index():
    _, mask = woodfisher({"w": torch.ones(2, 4)}, torch.zeros(1, 8), 0.5)
    assert mask["w"].tolist() == [[True] * 4, [False] * 4]


def test_refusals(monkeypatch):
    weights = {"w": torch.ones(2, 3)}
    for factors, how, sentence in (
        (torch.ones(4, 5), {}, r"are \(4, 5\), for 6 weights"),
        (torch.ones(4, 6), {"damping": 0}, "damping 0 is not positive"),
        (torch.ones(4, 6), {"share": 1}, "from 0 to below 1, found 1"),
        (torch.full((4, 6), torch.nan), {}, "not finite"),
    ):
        with pytest.raises(PrunusError, match=sentence):
            woodfisher(weights, factors, 0.5, **how)
    with pytest.raises(PrunusError, match="outside"):
        woodfisher(weights, torch.ones(4, 6), 0)
    with pytest.raises(PrunusError, match="at least one batch"):
        curvature_factors(network()[0], [])
    monkeypatch.setattr(samples, "LARGEST", 54 * 20)
    with pytest.raises(PrunusError, match="Sequential: of 54 weights at most 20 columns are taken"):
        curvature_factors(*network(), loss=cross_entropy)
