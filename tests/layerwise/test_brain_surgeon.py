"""OBS and L-OBS against brute force: every removal tried, every time all others solved for anew."""

import pytest
import torch
from torch import nn

from prunus import scope
from prunus.curvature import inverse_hessian
from prunus.errors import PrunusError
from prunus.layerwise import elimination, l_obs, obs
from prunus.mask import Mask

from .problems import correlated, greedy, solved

TIGHT = {"rtol": 1e-8, "atol": 1e-9}


@pytest.mark.parametrize("keep", [1, 4, 7, 10])
def test_obs_solves_least_squares_anew_for_a_linear_model(keep):
    """One output and squared error: what is removed, and where the others move, is what solving tells."""
    weights, inputs = correlated(rows=1, columns=10)
    layer = nn.Linear(10, 1, bias=False).double()
    layer.weight.data = weights
    batches = [(some, some @ weights.T) for some in inputs.split(7)]
    inverse = inverse_hessian(layer, batches, damping=1e-10, loss=lambda o, y: (o - y).square().sum(1).mean())
    moved, mask = obs(layer, inverse, keep / 10)
    kept = greedy(weights[0], inputs, keep)
    assert torch.equal(mask["weight"][0], kept)
    torch.testing.assert_close(moved["weight"][0], solved(weights[0], inputs, kept)[0], rtol=1e-5, atol=1e-6)
    assert torch.equal(layer.weight, weights)


def test_obs_moves_every_layer_and_keeps_the_loss_where_magnitude_does_not():
    """A network trained to its minimum on outputs of its own: the quadratic is the loss, near it."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 6, bias=False), nn.Tanh(), nn.Linear(6, 2, bias=False)).double()
    inputs = torch.randn(50, 5, dtype=torch.float64) * torch.logspace(0, -1, 5, dtype=torch.float64)
    labels = network(inputs).detach()

    def loss(outputs, wanted):
        return (outputs - wanted).square().sum(1).mean()

    inverse = inverse_hessian(network, [(inputs, labels)], loss=loss)
    moved, mask = obs(network, inverse, 0.9)
    assert mask.kept == 38  # of 42
    assert all(bool((moved[name][~mask[name]] == 0).all()) for name in mask)

    def lost(tree):
        return float(loss(torch.func.functional_call(network, tree, (inputs,)), labels))

    own = {name: weight.detach() for name, weight in network.named_parameters()}
    smallest = torch.cat([w.abs().reshape(-1) for w in own.values()]).sort().values[4]
    by_magnitude = {name: torch.where(w.abs() >= smallest, w, 0) for name, w in own.items()}
    assert lost(moved) < lost(mask.apply(own)) / 2
    assert lost(moved) < lost(by_magnitude) / 2


@pytest.mark.parametrize("at_once", [1, 1 << 24])
@pytest.mark.parametrize("keep", [2, 6, 11])
def test_l_obs_is_brute_force_row_by_row(monkeypatch, keep, at_once):
    monkeypatch.setattr(elimination, "AT_ONCE", at_once)
    weights, inputs = correlated()
    grams = {"w": inputs.T @ inputs}
    moved, mask = l_obs({"w": weights}, grams, keep / 12, scope=scope.row, damping=1e-13)
    for row, found, kept in zip(weights, moved["w"], mask["w"], strict=True):
        assert torch.equal(kept, greedy(row, inputs, keep))
        torch.testing.assert_close(found, solved(row, inputs, kept)[0], **TIGHT)


def test_l_obs_takes_whichever_row_loses_least():
    """Over a tensor, and over two: as brute force takes the cheapest next step among all rows."""
    tensors = {name: correlated(rows=2, columns=6, seed=seed) for seed, name in enumerate("ab")}
    weights = {name: w for name, (w, _) in tensors.items()}
    grams = {name: x.T @ x for name, (_, x) in tensors.items()}
    rows = [(name, index, w[index], x) for name, (w, x) in tensors.items() for index in range(2)]
    left = [6] * 4
    errors = [[solved(row, x, greedy(row, x, keep))[1] for keep in range(7)] for _, _, row, x in rows]
    for _ in range(14):
        steps = [errors[k][left[k] - 1] - errors[k][left[k]] if left[k] else torch.inf for k in range(4)]
        left[steps.index(min(steps))] -= 1
    _, mask = l_obs(weights, grams, 10 / 24, scope=scope.network, damping=1e-13)
    assert [int(mask[name][index].sum()) for name, index, _, _ in rows] == left


def test_equal_costs_are_settled_by_lowest_index():
    weights = {"w": torch.ones(2, 4)}
    _, mask = l_obs(weights, {"w": torch.eye(4)}, 0.5, scope=scope.row)
    assert mask["w"].tolist() == [[True, True, False, False]] * 2


def test_two_of_four_and_groups():
    """Groups of a convolution are problems of their own; its counts hold along the inputs."""
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 4, 2, groups=2)
    inputs = torch.randn(20, 2, 16, 16)
    grams = {"weight": (inputs.mT @ inputs).sum(0) + torch.eye(16).repeat(2, 1, 1)}
    moved, mask = l_obs(layer, grams, 0.5, scope=scope.n_of_m(2, 4))
    assert (mask["weight"].sum(1) == 2).all()
    first, _ = l_obs({"w": layer.weight[:2].detach()}, {"w": grams["weight"][0]}, 0.5, scope=scope.n_of_m(2, 4))
    torch.testing.assert_close(moved["weight"][:2], first["w"])
    assert moved["weight"].dtype == torch.float32


def test_what_has_no_gram_stays():
    weights = {"a": torch.ones(2, 3), "b": torch.eye(3)}
    moved, mask = l_obs(weights, {"b": torch.eye(3)}, 1 / 3)
    assert isinstance(mask, Mask)
    assert list(mask) == ["b"]
    assert torch.equal(moved["a"], weights["a"])
    assert torch.equal(moved["b"], weights["b"])


def test_refusals():
    weights = {"w": torch.ones(2, 3)}
    for density in (0, 1.5):
        with pytest.raises(PrunusError, match="outside"):
            l_obs(weights, {"w": torch.eye(3)}, density)
        with pytest.raises(PrunusError, match="outside"):
            obs(weights, torch.eye(6), density)
    with pytest.raises(PrunusError, match=r"is \(5, 5\), for 6 weights"):
        obs(weights, torch.eye(5), 0.5)
    with pytest.raises(PrunusError, match=r"w: a gram \(4, 4\) does not fit weights \(2, 3\)"):
        l_obs(weights, {"w": torch.eye(4)}, 0.5)
    with pytest.raises(PrunusError, match="grams of v not among"):
        l_obs(weights, {"v": torch.eye(3)}, 0.5)
    with pytest.raises(PrunusError, match="w: its inputs depend on each other"):
        l_obs(weights, {"w": torch.ones(3, 3)}, 0.5, damping=0)
    with pytest.raises(PrunusError, match="too large to be precise"):
        obs(weights, torch.full((6, 6), torch.inf), 0.5)
    with pytest.raises(PrunusError, match="damping -1 is negative"):
        l_obs(weights, {"w": torch.eye(3)}, 0.5, damping=-1)
