"""Scores of weights that were never trained: finite differences, paths one by one, and what is conserved."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunus import score
from prunus.errors import PrunusError
from prunus.evidence import flows, gradients, hessian_gradients, of_each_class
from prunus.models import build
from prunus.pruning import iterate, prune
from prunus.schedule import rounds


def plain(*sizes, seed=0, bias=True):
    torch.manual_seed(seed)
    pairs = itertools.pairwise(sizes)
    layers = [layer for pair in pairs for layer in (nn.Linear(*pair, bias=bias), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).double()


def batch(rows, inputs, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, inputs, dtype=torch.float64, generator=generator), torch.arange(rows) % classes


def test_hessian_gradients_are_those_of_the_hessian_in_full():
    """Oracle: the Hessian over all weights as one vector, and the batches as one."""
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    inputs, labels = batch(12, 4, 3)
    shapes = [model[0].weight.shape, model[2].weight.shape]

    def loss(flat):
        first, second = flat[:20].reshape(shapes[0]), flat[20:].reshape(shapes[1])
        hidden = (inputs @ first.T + model[0].bias).tanh()
        return F.cross_entropy((hidden @ second.T + model[2].bias) / 3, labels)

    flat = torch.cat([model[0].weight.detach().flatten(), model[2].weight.detach().flatten()])
    expected = torch.autograd.functional.hessian(loss, flat) @ torch.func.grad(loss)(flat)
    batches = zip(inputs.split(5), labels.split(5), strict=True)
    found = hessian_gradients(model, batches, temperature=3)
    together = torch.cat([value.flatten() for value in found.values()])
    torch.testing.assert_close(together, expected, rtol=1e-10, atol=1e-14)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_grasp_is_what_the_squared_gradient_loses():
    """Oracle: half the finite difference of |g|^2 as one weight is scaled towards zero."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    data = [batch(6, 3, 2)]
    own = {name: value.detach() for name, value in model.named_parameters() if value.ndim == 2}
    scores = score.grasp(own, hessian_gradients(model, data, temperature=1))

    def steepness():
        return sum(float(g.square().sum()) for g in gradients(model, data).values())

    step = 1e-5
    for name, weight in own.items():
        for place in range(weight.numel()):
            value = float(weight.view(-1)[place])
            steep = []
            for factor in (1 - step, 1 + step):
                weight.view(-1)[place] = value * factor
                steep.append(steepness())
            weight.view(-1)[place] = value
            loss = (steep[1] - steep[0]) / (2 * step) / 2
            assert float(scores[name].view(-1)[place]) == pytest.approx(loss, rel=1e-6, abs=1e-10)


def test_of_each_class_takes_the_first_of_each():
    inputs, labels = torch.arange(6.0)[:, None], torch.tensor([1, 0, 1, 0, 1, 0])
    batches = iter(zip(inputs.split(2), labels.split(2), strict=True))
    chosen = of_each_class(batches, 2, classes=2)
    assert chosen[0].flatten().tolist() == [1, 3, 0, 2]
    assert chosen[1].tolist() == [0, 0, 1, 1]
    assert len(list(batches)) == 1
    with pytest.raises(PrunusError, match="class 0 has 3 rows, fewer than 4"):
        of_each_class([(inputs, labels)], 4, classes=2)


def test_flows_are_sums_over_paths():
    """Oracle: every path from an input to an output, a product of magnitudes, one by one."""
    model = plain(3, 4, 2, bias=False)
    first, second = model[0].weight.detach().abs().tolist(), model[2].weight.detach().abs().tolist()
    through: dict[tuple[int, int, int], float] = {}
    for i, h, o in itertools.product(range(3), range(4), range(2)):
        for entry in ((0, h, i), (1, o, h)):
            through[entry] = through.get(entry, 0.0) + first[h][i] * second[o][h]
    own = {name: value.detach() for name, value in model.named_parameters()}
    scores = list(score.synflow(own, flows(model, torch.zeros(1, 3))).values())
    for (layer, row, column), expected in through.items():
        assert float(scores[layer][row, column]) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 99), st.booleans())
def test_synflow_is_conserved_by_units_and_layers(sizes, seed, bias):
    """What enters a hidden unit, its bias's part included, leaves it; without biases, all layers have the same sum."""
    model = plain(*sizes, seed=seed, bias=bias)
    found = flows(model, torch.zeros(1, sizes[0]))
    own = {name: value.detach() for name, value in model.named_parameters() if value.ndim == 2}
    scores = list(score.synflow(own, found).values())
    positive = [layer.weight.detach().abs() for layer in model if isinstance(layer, nn.Linear)]
    biases = [layer.bias.detach().abs() if bias else 0.0 for layer in model if isinstance(layer, nn.Linear)]
    for number, (before, after) in enumerate(itertools.pairwise(scores)):
        downstream = torch.ones(sizes[-1], dtype=torch.float64)
        for weight in reversed(positive[number + 1 :]):
            downstream = weight.T @ downstream
        torch.testing.assert_close(before.sum(1) + biases[number] * downstream, after.sum(0), rtol=1e-12, atol=0)
    if not bias:
        total = float(scores[0].sum())
        assert all(float(one.sum()) == pytest.approx(total, rel=1e-12) for one in scores)


def test_synflow_is_conserved_by_a_residual_network_with_batchnorm():
    """What flows through a block and what goes around it make up the whole: its two tensors have the same sum."""
    model = build("resnet-20", seed=0)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = flows(model, torch.zeros(1, 3, 32, 32))
    own = {name: value.detach() for name, value in model.named_parameters() if value.ndim >= 2}
    sums = {name: float(one.sum()) for name, one in score.synflow(own, found).items()}
    names = list(sums)
    assert sums[names[0]] == pytest.approx(sums[names[-1]], rel=1e-10)
    assert all(0 < one <= sums[names[0]] * (1 + 1e-10) for one in sums.values())
    for first, second in zip(names[1:-1:2], names[2:-1:2], strict=False):
        if first.rpartition(".")[0].rpartition(".")[0] == second.rpartition(".")[0].rpartition(".")[0]:
            assert sums[first] == pytest.approx(sums[second], rel=1e-10)
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())
    assert model.training


def test_flows_need_numbers_that_can_be_one():
    with pytest.raises(PrunusError, match=r"floating-point numbers, found an example of torch.int64"):
        flows(plain(2, 1), torch.zeros(1, 2, dtype=torch.int64))
    with pytest.raises(PrunusError, match=r"0.weight: the flow holds NaN or infinity"):
        flows(nn.Sequential(*[nn.Linear(1, 1) for _ in range(3)]).requires_grad_(False).apply(_huge), torch.zeros(1, 1))


def _huge(module):
    if isinstance(module, nn.Linear):
        module.double().weight.fill_(1e200)
        module.bias.fill_(1e200)


def test_iterated_pruning_by_hand():
    """Oracle: the loop written out, with a mask multiplied in and a sort of the survivors."""
    model = plain(6, 8, 4, seed=1)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    data = [batch(20, 6, 4)]
    found = iterate(model, score.taylor, rounds(0.2, 4), lambda network: {"gradients": gradients(network, data)})

    other = plain(6, 8, 4, seed=1)
    layers = [other[0], other[2]]
    kept = [torch.ones_like(layer.weight, dtype=torch.bool) for layer in layers]
    for number in range(1, 5):
        other.zero_grad()
        F.cross_entropy(other(data[0][0]), data[0][1]).backward()
        worth = torch.cat([(layer.weight * layer.weight.grad).abs().flatten() for layer in layers]).tolist()
        alive = torch.cat([part.flatten() for part in kept]).tolist()
        order = sorted((place for place in range(80) if alive[place]), key=lambda place: (-worth[place], place))
        chosen = set(order[: math.floor(80 * 0.2 ** (number / 4) + 0.5)])
        flat = torch.tensor([place in chosen for place in range(80)])
        kept = [flat[:48].reshape(8, 6), flat[48:].reshape(4, 8)]
        with torch.no_grad():
            for layer, part in zip(layers, kept, strict=True):
                layer.weight.mul_(part)
    assert found["0.weight"].equal(kept[0])
    assert found["2.weight"].equal(kept[1])
    assert found.kept == 16
    assert all(value.equal(before[name]) for name, value in model.named_parameters())
    one_shot = prune(model, score.taylor, 0.2, gradients=gradients(model, data))
    assert found != one_shot


def test_iterated_synflow_empties_no_layer_where_one_shot_does():
    """Wide layers beside narrow ones, at the density that leaves 12 weights: one path would take four."""
    model = plain(4, 30, 30, 30, 2, seed=2, bias=False)

    def measure(network):
        return {"flows": flows(network, torch.zeros(1, 4))}

    density = 12 / sum(value.numel() for value in model.parameters())
    found = iterate(model, score.synflow, rounds(density, 100), measure)
    assert found.kept == 12
    assert all(kept.any() for kept in found.values())
    with pytest.raises(PrunusError, match="nothing of its"):
        prune(model, score.synflow, density, **measure(model))


def test_what_cannot_be_iterated():
    model = plain(2, 2)
    with pytest.raises(PrunusError, match="one round or more, found 0"):
        rounds(0.5, 0)
    with pytest.raises(PrunusError, match="at least one density"):
        iterate(model, score.magnitude, [], lambda network: {})
    with pytest.raises(PrunusError, match="more is to be kept"):
        iterate(model, score.magnitude, [0.5, 0.75], lambda network: {})
