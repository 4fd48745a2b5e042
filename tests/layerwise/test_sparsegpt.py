"""SparseGPT against Optimal Brain Surgeon written out column by column, and against magnitude and Wanda."""

import pytest
import torch
from torch import nn

from prunus import scope
from prunus.errors import PrunusError
from prunus.inputs import input_grams, input_norms
from prunus.layerwise import l_obs, layer_errors, reconstruct, sparsegpt
from prunus.pruning import prune
from prunus.score import magnitude, wanda

from .problems import correlated


def column_by_column(weights, gram, damping, keep_of_row, selection):
    """For column j, the whole inverse of what is left of H: e = w_j / [H_F^-1]_jj, w_F -= e [H_F^-1]_j."""
    columns = weights.shape[1]
    hessian = gram + damping * gram.diagonal().mean() * torch.eye(columns, dtype=gram.dtype)
    weights, kept = weights.clone(), torch.ones_like(weights, dtype=torch.bool)
    inverses = [torch.linalg.inv(hessian[j:, j:]) for j in range(columns)]
    for j in range(columns):
        if j % selection == 0:
            run = range(j, min(j + selection, columns))
            costs = torch.stack([weights[:, k] ** 2 / inverses[k][0, 0] for k in run], 1)
            for row in range(len(weights)):
                worst = sorted(range(len(run)), key=lambda k, row=row, costs=costs: float(costs[row, k]))
                for k in worst[: len(run) - keep_of_row(run)]:
                    kept[row, run[k]] = False
        for row in range(len(weights)):
            if not kept[row, j]:
                weights[row, j:] -= weights[row, j] / inverses[j][0, 0] * inverses[j][0]
                weights[row, j] = 0
    return weights, kept


@pytest.mark.parametrize(
    ("where", "selection", "block"),
    [(scope.row, 12, block) for block in (1, 3, 4, 12)] + [(scope.n_of_m(2, 4), 4, block) for block in (2, 4, 12, 128)],
)
def test_is_optimal_brain_surgeon_column_by_column(where, selection, block):
    """With everything decided at once, however many updates wait, and with 2 of 4 by what weights have become."""
    weights, inputs = correlated()
    gram = inputs.T @ inputs
    moved, mask = sparsegpt({"w": weights}, {"w": gram}, 0.5, scope=where, block=block, selection=selection)
    expected, kept = column_by_column(weights, gram, 0.01, lambda run: len(run) // 2, selection)
    assert torch.equal(mask["w"], kept)
    torch.testing.assert_close(moved["w"], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("columns", [12, 11])
@pytest.mark.parametrize("density", [0.1, 0.37, 0.5, 1.0])
@pytest.mark.parametrize("where", [scope.tensor, scope.row])
def test_counts_are_exact(where, density, columns):
    weights, inputs = correlated(columns=columns)
    _, mask = sparsegpt({"w": weights}, {"w": inputs.T @ inputs}, density, scope=where, block=5)
    if where is scope.row:
        assert (mask["w"].sum(1) == scope.count(density, columns)).all()
    else:
        assert mask.kept == scope.count(density, 6 * columns)


def test_equal_costs_are_settled_by_lowest_index():
    weights = {"w": torch.ones(2, 6)}
    _, mask = sparsegpt(weights, {"w": torch.eye(6)}, 0.5, scope=scope.row, block=4)
    assert mask["w"].tolist() == [[True, True, False, False, True, False]] * 2


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8)])
def test_n_of_m_along_the_inputs_of_a_convolution(n, m):
    torch.manual_seed(0)
    layer, images = nn.Conv2d(16, 4, 3, groups=2, padding=1), torch.randn(6, 16, 5, 5)
    grams = input_grams(layer, [(images, None)])
    moved, mask = sparsegpt(layer, grams, n / m, scope=scope.n_of_m(n, m))
    groups = mask["weight"].movedim(1, -1).reshape(-1, m)
    assert (groups.sum(1) == n).all()
    assert (moved["weight"][~mask["weight"]] == 0).all()
    assert (moved["weight"][mask["weight"]] != layer.weight[mask["weight"]]).any()


@pytest.mark.parametrize("where", [scope.row, scope.n_of_m(2, 4), scope.n_of_m(4, 8)], ids=["50 %", "2:4", "4:8"])
def test_errors_are_ordered_as_published(where):
    """On correlated inputs of different scales, for each of three layers: L-OBS < SparseGPT < Wanda < magnitude."""
    for seed in range(3):
        torch.manual_seed(seed)
        layer = nn.Linear(32, 16, bias=False).double()
        scales = torch.logspace(0, 1.5, 32, dtype=torch.float64)[torch.randperm(32)]
        mixed = torch.eye(32, dtype=torch.float64) + 0.3 * torch.randn(32, 32, dtype=torch.float64)
        batches = [(torch.randn(200, 32, dtype=torch.float64) @ mixed * scales, None)]
        grams, norms = input_grams(layer, batches), input_norms(layer, batches)
        own = {"weight": layer.weight.detach()}
        small, wise = prune(own, magnitude, 0.5, scope=where), prune(own, wanda, 0.5, scope=where, input_norms=norms)
        results = [
            l_obs(own, grams, 0.5, scope=where)[0],
            sparsegpt(own, grams, 0.5, scope=where)[0],
            wise.apply(own),
            small.apply(own),
        ]
        errors = [layer_errors(own, result, grams)["weight"] for result in results]
        assert errors == sorted(errors)
        assert errors[0] > 0
        for mask, result in ((wise, results[2]), (small, results[3])):
            solved = reconstruct(own, mask, grams, damping=0)
            assert layer_errors(own, solved, grams)["weight"] < 0.8 * layer_errors(own, result, grams)["weight"]


def test_inputs_that_are_always_zero():
    weights, inputs = correlated(columns=6)
    inputs[:, 2] = 0
    moved, mask = sparsegpt({"w": weights}, {"w": inputs.T @ inputs}, 0.5, damping=1e-9)
    assert not mask["w"][:, 2].any()
    assert moved["w"].isfinite().all()
    moved, _ = sparsegpt({"w": weights}, {"w": torch.zeros(6, 6)}, 0.5)
    assert moved["w"].isfinite().all()


def test_refusals():
    weights, grams = {"w": torch.ones(2, 6)}, {"w": torch.eye(6)}
    with pytest.raises(PrunusError, match="scope is tensor, row or n_of_m"):
        sparsegpt(weights, grams, 0.5, scope=scope.network)
    with pytest.raises(PrunusError, match="selection 3 neither divides block 4"):
        sparsegpt(weights, grams, 0.5, block=4, selection=3)
    with pytest.raises(PrunusError, match="w: groups of 4 do not divide"):
        sparsegpt(weights, grams, 0.5, scope=scope.n_of_m(2, 4))
    with pytest.raises(PrunusError, match="2 of 3 has density"):
        sparsegpt(weights, grams, 0.5, scope=scope.n_of_m(2, 3), block=3)
    with pytest.raises(PrunusError, match="density 0 is outside"):
        sparsegpt(weights, grams, 0)
