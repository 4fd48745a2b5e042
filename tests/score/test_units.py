"""Relevance of units against gates that are really there."""

import pytest
import torch
from torch import nn

from prunus.evidence import gradients, linear_error
from prunus.pattern import channel
from prunus.pruning import prune
from prunus.scope import count, together
from prunus.score import relevance
from prunus.shrinking import shrink, spread, wiring
from prunus.tree import weights

from ..shrinking.networks import Residual, check_same, convolutional, drawn, perceptron

NETWORKS = {
    "perceptron": (lambda: perceptron(3, 6, 5, 2, activation=nn.Sigmoid), (7, 3)),
    "feature maps behind flatten": (convolutional, (7, 2, 8, 8)),
    "a trunk that many layers read": (Residual, (7, 3, 6, 6)),
}


def squared(outputs, targets):
    return (outputs - targets).square().sum(1).mean()


def error(model, loss, data, readers, number, alpha):
    """E with the channel `number` multiplied by `alpha` wherever a layer reads it."""

    def gate(inputs):
        return lambda _, args: (
            args[0]
            * (1 + (alpha - 1) * (inputs == number).double())[(None, slice(None), *[None] * (args[0].ndim - 2))],
        )

    handles = [
        model.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(gate(inputs))
        for name, inputs in readers.items()
    ]
    with torch.no_grad():
        value = float(loss(model(data[0]), data[1]))
    for handle in handles:
        handle.remove()
    return value


@pytest.mark.parametrize("loss", [linear_error, squared, nn.functional.cross_entropy])
@pytest.mark.parametrize("case", NETWORKS)
def test_the_relevance_of_a_unit_is_the_slope_at_its_gate(case, loss):
    """Oracle: central differences of the error in alpha, gates in front of every layer that reads the unit."""
    make, shape = NETWORKS[case]
    model = drawn(make()).double().eval()
    with torch.no_grad():
        for weight in weights(model).values():
            weight /= weight[0].numel() ** 0.5
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    outputs = model(inputs).detach().shape[1]
    labels = torch.arange(len(inputs)) % outputs
    targets = labels if loss is not squared else torch.eye(outputs).double()[labels]
    found = gradients(model, [(inputs, targets)], loss)
    scores = relevance({name: w.detach() for name, w in weights(model).items()}, found)
    readers = wiring(model, example=inputs).inputs
    step = 1e-5
    for number in torch.cat(list(readers.values())).unique().tolist()[1:]:
        summed = sum(float(channel(1).atoms(scores[name])[own == number].sum()) for name, own in readers.items())
        more, less = (error(model, loss, (inputs, targets), readers, number, 1 + sign * step) for sign in (1, -1))
        assert summed == pytest.approx((less - more) / (2 * step), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("case", NETWORKS)
def test_units_without_relevance_are_really_gone(case):
    make, shape = NETWORKS[case]
    model = drawn(make()).eval()
    inputs = torch.randn(shape)
    data = [(inputs, torch.arange(len(inputs)) % model(inputs).shape[1])]
    found = wiring(model, example=inputs)
    mask = prune(
        model,
        relevance,
        0.5,
        pattern=channel(1),
        scope=together(found.inputs),
        gradients=gradients(model, data, linear_error),
    )
    small = shrink(model, mask, example=inputs)
    check_same(model, mask, small, shape)
    kept = torch.cat([own[mask[name].transpose(0, 1).flatten(1).any(1)] for name, own in found.inputs.items()]).unique()
    alive = torch.cat(list(found.outputs.values())).unique()
    assert len(kept) - 1 == count(0.5, len(alive) - 1)  # less the number of what must stay
    for name, weight in weights(small).items():
        assert len(weight) == int(torch.isin(found.outputs[name], kept).sum())
    assert {name: int(kept.sum()) for name, kept in spread(mask, found).items()} == {
        name: weight.numel() for name, weight in weights(small).items()
    }


def test_linear_error_by_hand():
    outputs, targets = torch.tensor([[0.2, 0.9], [0.5, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    assert linear_error(outputs, targets).item() == pytest.approx((0.2 + 0.1 + 0.5 + 1.0) / 2)
    logits, labels = torch.tensor([[0.0, 1.0, -1.0]]), torch.tensor([1])
    probability = 2.718281828 / (1 + 2.718281828 + 1 / 2.718281828)
    assert linear_error(logits, labels).item() == pytest.approx(2 * (1 - probability))
