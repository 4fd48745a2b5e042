"""LASSO selection and reconstruction against optimality conditions, another solver, and least squares on the data."""

from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Lasso, lasso_path
from torch import nn

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.models.description import Description
from prunus.pattern import channel
from prunus.pruning import prune
from prunus.scope import tensor
from prunus.score import magnitude
from prunus.shrinking import shrink, wiring
from prunus.structured import refit_channels, select_channels
from prunus.structured.descent import lasso, support
from prunus.tree import assign

from ..shrinking.networks import Residual, check_same, drawn


def path(z, y):
    """The variables that are not zero at strengths from high to low, all of them last, by another solver."""
    strengths = np.geomspace(1, 1e-7, 500) * np.abs(z.T @ y).max() / len(y)
    return [*(lasso_path(z, y, alphas=strengths, tol=1e-9, max_iter=100_000)[1] != 0).T, np.ones(z.shape[1], bool)]


def problem(seed, columns=12, rows=40):
    generator = np.random.default_rng(seed)
    z = generator.normal(size=(rows, columns)) @ (np.eye(columns) + 0.2 * generator.normal(size=(columns, columns)))
    y = z @ generator.normal(size=columns) + generator.normal(size=rows)
    return z, y


@given(seed=st.integers(0, 10_000), part=st.floats(1e-3, 1.1), free=st.integers(0, 3))
def test_lasso_meets_the_optimality_conditions(seed, part, free):
    z, y = problem(seed)
    gram, target = z.T @ z, z.T @ y
    strengths = np.full(12, part * np.abs(target).max())
    strengths[:free] = 0
    tolerance = 1e-9 * np.abs(target).max()
    found = lasso(gram, target, strengths, np.zeros(12), tolerance)
    slopes = target - gram @ found
    at = found != 0
    assert np.abs(slopes[at] - strengths[at] * np.sign(found[at])).max(initial=0) <= 2 * tolerance
    assert (np.abs(slopes[~at]) <= strengths[~at] + 2 * tolerance).all()


@pytest.mark.parametrize("part", [0.01, 0.1, 0.5])
def test_lasso_is_that_of_another_solver(part):
    z, y = problem(1)
    strength = part * np.abs(z.T @ y).max()
    expected = Lasso(strength / len(y), fit_intercept=False, tol=1e-12, max_iter=100_000).fit(z, y).coef_
    found = lasso(z.T @ z, z.T @ y, np.full(12, strength), np.zeros(12), 1e-10 * np.abs(z.T @ y).max())
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("keep", range(13))
def test_the_support_is_on_the_path(keep):
    """Oracle: strengths one by one from high to low by the other solver, until so many are not zero."""
    z, y = problem(2)
    found = support(z.T @ z, z.T @ y, np.zeros(12, dtype=bool), keep)
    assert found.sum() == keep
    choices = [kept for kept in path(z, y) if kept.sum() == keep]
    assert found.tolist() in [kept.tolist() for kept in choices]


def test_equal_channels_and_dead_ones_do_not_spoil_the_count():
    z, y = problem(3)
    z[:, 1] = z[:, 0]
    z[:, 2] = 0
    for keep in range(1, 13):
        found = support(z.T @ z, z.T @ y, np.zeros(12, dtype=bool), keep)
        assert found.sum() == keep
        assert not found[2] or keep == 12


def test_free_variables_are_kept_beside():
    z, y = problem(4)
    free = np.arange(12) < 3
    found = support(z.T @ z, z.T @ y, free, 4)
    assert found[:3].all()
    assert found.sum() == 7


def two_layers(bias=True, padding=1):
    """conv-norm-relu-conv on (B, 2, 6, 6), the second with stride 2."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 5, 3, stride=2, padding=padding, bias=bias),
    ).eval()


def images(rows=30, seed=0):
    return torch.randn(rows, 2, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pairs(inputs, rows=100):
    """Batches as evidence takes them; labels are not looked at."""
    return [(part, torch.zeros(len(part))) for part in inputs.split(rows)]


def windows(maps):
    """Each window that the second convolution sees, cut out by hand: (rows, 8, 3, 3)."""
    padded = F.pad(maps, (1, 1, 1, 1))
    return torch.stack([padded[:, :, i : i + 3, j : j + 3] for i in (0, 2, 4) for j in (0, 2, 4)], 1).flatten(0, 1)


@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_is_fitted_by_least_squares(bias):
    """Oracle: least squares on the windows themselves."""
    model, batches = two_layers(bias).double(), pairs(images(), 8)
    mask = prune({"3.weight": model[3].weight.detach()}, magnitude, 0.5, pattern=channel(1), scope=tensor)
    found = refit_channels(model, mask, batches)
    with torch.no_grad():
        kept = mask["3.weight"][0, :, 0, 0]
        x = windows(model[:3](images()))[:, kept].flatten(1)
        y = model(images()).movedim(1, -1)
        y = y.reshape(-1, 5)
        x = torch.cat([x, torch.ones(len(x), 1).double()], 1) if bias else x
        solution = torch.linalg.lstsq(x, y).solution
    weight = found.weights["3.weight"]
    torch.testing.assert_close(weight[:, kept].flatten(1), solution[: weight[:, kept][0].numel()].T, rtol=0, atol=1e-9)
    assert not weight[:, ~kept].any()
    scale = (y - y.mean(0)).square().sum() if bias else y.square().sum()
    assert found.errors["3.weight"] == pytest.approx(float((x @ solution - y).square().sum() / scale), rel=1e-9)
    if bias:
        torch.testing.assert_close(found.weights["3.bias"], solution[-1], rtol=0, atol=1e-9)
    assert list(found.weights) == ["3.weight", "3.bias"][: 1 + bias]


def test_the_choice_is_that_of_the_lasso_on_the_maps_that_each_channel_makes():
    """Oracle: what each channel alone adds to the outputs, centred, given to the other solver."""
    model, shape = two_layers().double(), (2, 2, 6, 6)
    found = wiring(model, example=torch.zeros(shape).double())
    with torch.no_grad():
        x = windows(model[:3](images()))
        z = torch.stack([(x[:, c].flatten(1) @ model[3].weight[:, c].flatten(1).T) for c in range(8)], -1)
        z = (z - z.mean(0)).reshape(-1, 8).numpy()
        y = model(images()).movedim(1, -1).reshape(-1, 5)
        y = (y - y.mean(0)).reshape(-1).numpy()
    choices = path(z, y)
    for keep in range(1, 8):
        chosen = select_channels(model, {"3.weight": keep / 8}, pairs(images(), 10), found).mask["3.weight"][0, :, 0, 0]
        assert int(chosen.sum()) == keep
        assert chosen.tolist() in [kept.tolist() for kept in choices]


def test_channels_that_others_can_make_cost_nothing():
    """Four of eight channels are copies that do less: they go, and the output stays to 1e-7."""
    model, shape = two_layers().double(), (2, 2, 6, 6)
    with torch.no_grad():
        for layer in (model[0], model[1]):
            for tensor_ in (layer.weight, layer.bias):
                tensor_[4:] = tensor_[:4]
        model[3].weight[:, 4:] = 0.5 * model[3].weight[:, :4]
    channels = wiring(model, example=torch.zeros(shape).double())
    found = select_channels(model, {"3.weight": 0.5}, pairs(images()), channels)
    assert found.mask["3.weight"][0, :, 0, 0].tolist() == [True] * 4 + [False] * 4
    assert found.errors["3.weight"] < 1e-9
    with torch.no_grad():
        expected = model(images(seed=1))
        assign(model, found.weights)
        small = shrink(model, found.mask, example=torch.zeros(shape).double())
        assert (small(images(seed=1)) - expected).abs().max() < 1e-7 * expected.abs().max()
    assert small[0].out_channels == small[1].num_features == 4


@pytest.mark.usefixtures("one_thread")
def test_lasso_and_refitting_beat_magnitude_in_a_resnet():
    """Inside of blocks, layer after layer: fitted to the original network where earlier layers are pruned."""
    torch.manual_seed(0)
    model, shape = Description("resnet-20", (3, 8, 8), 10).make().eval(), (16, 3, 8, 8)
    inputs = torch.randn(shape)
    densities = {f"layer1.{block}.conv2.weight": 0.5 for block in range(2)}
    chosen = select_channels(model, densities, pairs(inputs, 8), wiring(model, example=inputs))
    own = {name: model.get_parameter(name).detach() for name in densities}
    by_size = prune(own, magnitude, 0.5, pattern=channel(1), scope=tensor)
    fitted = refit_channels(model, by_size, pairs(inputs, 8))
    outputs = {}
    ways = (("magnitude", by_size, {}), ("fitted", by_size, fitted.weights), ("lasso", chosen.mask, chosen.weights))
    for title, mask, new in ways:
        network = Description("resnet-20", (3, 8, 8), 10).make().eval()
        network.load_state_dict(model.state_dict())
        assign(network, new)
        small = shrink(network, mask, example=inputs)
        assert [small.layer1[block].conv1.out_channels for block in range(2)] == [8, 8]
        assert small.conv1.out_channels == 16
        with torch.no_grad():
            outputs[title] = float((small(inputs) - model(inputs)).square().mean())
    assert outputs["fitted"] < 0.5 * outputs["magnitude"]
    assert outputs["lasso"] < 0.5 * outputs["magnitude"]


def test_a_trunk_that_is_read_elsewhere_stays():
    model, shape = drawn(Residual()), (9, 3, 6, 6)
    inputs = torch.randn(shape)
    found = select_channels(model, {"into.0.weight": 0.5}, pairs(inputs), wiring(model, example=inputs))
    assign(model, found.weights)
    small = shrink(model, found.mask, example=inputs)
    check_same(model, found.mask, small, shape)
    assert small.into[0].in_channels == 6


def test_the_best_support_is_not_missed_by_far():
    """Oracle: all choices of 4 channels, fitted; the LASSO's is among the best tenth."""
    model = two_layers().double()
    found = select_channels(
        model, {"3.weight": 0.5}, pairs(images()), wiring(model, example=torch.zeros(2, 2, 6, 6).double())
    )
    errors = []
    for kept in combinations(range(8), 4):
        mask = channel(1).entries(torch.isin(torch.arange(8), torch.tensor(kept)), model[3].weight.shape)
        errors.append(refit_channels(model, Mask({"3.weight": mask}), pairs(images())).errors["3.weight"])
    assert sorted(errors).index(min(errors, key=lambda e: abs(e - found.errors["3.weight"]))) < 7
    assert min(abs(e - found.errors["3.weight"]) for e in errors) < 1e-12


@pytest.mark.parametrize("copies", [False, True])
def test_dead_and_doubled_channels_have_the_shortest_solution(copies):
    """Oracle: least squares by singular values on the windows themselves."""
    model = two_layers(bias=False).double()
    with torch.no_grad():
        model[1].bias[0] = -100  # dead behind ReLU
        for layer in (model[0], model[1]) if copies else ():
            for part in (layer.weight, layer.bias):
                part[2] = part[1]
        x, y = windows(model[:3](images())).flatten(1), model(images()).movedim(1, -1).reshape(-1, 5)
    mask = Mask({"3.weight": torch.ones(5, 8, 3, 3, dtype=torch.bool)})
    found = refit_channels(model, mask, pairs(images())).weights["3.weight"]
    expected = torch.linalg.lstsq(x, y, driver="gelsd").solution
    torch.testing.assert_close(found.flatten(1), expected.T, rtol=0, atol=1e-9)


def test_refusals():
    model = two_layers()
    found = wiring(model, example=torch.zeros(2, 2, 6, 6))
    with pytest.raises(PrunusError, match=r"no layer reads channels with 1\.weight"):
        select_channels(model, {"1.weight": 0.5}, pairs(images().float()), found)
    with pytest.raises(PrunusError, match=r"3\.weight: density 0.01 leaves none of 8 channels"):
        select_channels(model, {"3.weight": 0.01}, pairs(images().float()), found)
    with pytest.raises(PrunusError, match="without a batch"):
        select_channels(model, {"3.weight": 0.5}, [], found)
    with pytest.raises(PrunusError, match="keeps a part of an input channel"):
        refit_channels(model, Mask({"3.weight": torch.rand(5, 8, 3, 3) < 0.5}), pairs(images().float()))
