"""Scores of weights."""

import itertools
import math
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oracle.shared import DOUBLE, Check, apart, batches, flat, loss_of, perceptron, rows_of
from prunus import score
from prunus.curvature import hessian_diagonals
from prunus.evidence import flows, gradients, hessian_gradients
from prunus.inputs import input_norms
from prunus.tree import weights


def hessian_gradient(seed: int, dtype: torch.dtype) -> float:
    network, rows = perceptron(seed, dtype, 4, 5, 3), rows_of(seed, dtype, 4)
    found = hessian_gradients(network, batches(rows), temperature=3)

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs / 3, labels)

    of, own = loss_of(network, rows, loss)
    return apart(flat(found), torch.func.hessian(of)(own) @ torch.func.grad(of)(own))


def grasp(seed: int, dtype: torch.dtype) -> float:
    """Half of what the squared gradient changes by, as one weight is scaled."""
    network, rows = perceptron(seed, dtype, 3, 4, 2), rows_of(seed, dtype, 3, classes=2)
    found = score.grasp(weights(network), hessian_gradients(network, [rows], temperature=1))
    of, own = loss_of(network, rows)
    return apart(flat(found), _as_scaled(lambda vector: torch.func.grad(of)(vector).square().sum() / 2, own))


def snip(seed: int, dtype: torch.dtype) -> float:
    """What the loss changes by as one connection's strength leaves 1."""
    network, rows = perceptron(seed, dtype, 4, 5, 3), rows_of(seed, dtype, 4)
    found = score.taylor(weights(network), gradients(network, batches(rows)))
    of, own = loss_of(network, rows)
    return apart(flat(found), _as_scaled(of, own).abs())


def _as_scaled(of: Callable[[Tensor], Tensor], own: Tensor, step: float = 1e-5) -> Tensor:
    """Central differences of `of` in a factor of each entry alone."""
    scales = torch.eye(len(own), dtype=DOUBLE) * step
    return torch.stack([(of(own * (1 + scale)) - of(own * (1 - scale))) / (2 * step) for scale in scales])


def obd(seed: int, dtype: torch.dtype) -> float:
    """At the minimum of a squared error: what zeroing each weight alone adds to it."""
    torch.manual_seed(seed)
    inputs, labels = torch.randn(30, 4, dtype=dtype), torch.randn(30, 3, dtype=dtype)
    layer = nn.Linear(4, 3, bias=False).to(dtype)
    solved = np.linalg.lstsq(inputs.double().numpy(), labels.double().numpy(), rcond=None)[0]
    layer.weight.data = torch.from_numpy(solved.T).to(dtype).contiguous()

    def loss(outputs: Tensor, wanted: Tensor) -> Tensor:
        return (outputs - wanted).square().sum(1).mean()

    found = score.obd(weights(layer), hessian_diagonals(layer, [(inputs, labels)], loss))
    return apart(flat(found), _as_zeroed(layer, lambda twin: loss(twin(inputs.double()), labels.double())))


def wanda(seed: int, dtype: torch.dtype) -> float:
    torch.manual_seed(seed)
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2).to(dtype)
    inputs = torch.randn(5, 4, 6, 6, dtype=dtype)
    found = flat(score.wanda(weights(layer), input_norms(layer, [(inputs, None)]))).square()
    outputs = deepcopy(layer).double()(inputs.double()).detach()
    return apart(found, _as_zeroed(layer, lambda twin: (twin(inputs.double()) - outputs).square().sum()))


@torch.no_grad()
def _as_zeroed(layer: nn.Module, of: Callable[[nn.Module], Tensor]) -> Tensor:
    twin = deepcopy(layer).double()
    before, found, values = of(twin), [], twin.weight.view(-1)
    for place, value in enumerate(values.tolist()):
        values[place] = 0
        found.append(of(twin) - before)
        values[place] = value
    return torch.stack(found)


def _flowing(seed: int, dtype: torch.dtype, bias: bool) -> tuple[nn.Sequential, list[Tensor]]:
    network = perceptron(seed, dtype, 6, 9, 7, 4, bias=bias, activation=nn.ReLU)
    found = score.synflow(weights(network), flows(network, torch.zeros(1, 6)))
    return network, [one.detach() for one in found.values()]


def synflow_units(seed: int, dtype: torch.dtype) -> float:
    """What enters a hidden unit, with what its bias brings, and what leaves it."""
    network, scores = _flowing(seed, dtype, bias=True)
    layers, errors = [layer for layer in network if isinstance(layer, nn.Linear)], []
    for number, (before, after) in enumerate(itertools.pairwise(scores)):
        onwards = torch.ones(4, dtype=DOUBLE)
        for layer in reversed(layers[number + 1 :]):
            onwards = layer.weight.detach().double().abs().T @ onwards
        entering = before.double().sum(1) + layers[number].bias.detach().double().abs() * onwards
        errors.append(apart(entering, after.double().sum(0)))
    return max(errors)


def synflow_layers(seed: int, dtype: torch.dtype) -> float:
    _, scores = _flowing(seed, dtype, bias=False)
    sums = torch.stack([one.double().sum() for one in scores])
    return apart(sums, sums[:1])


def synflow_paths(seed: int, dtype: torch.dtype) -> float:
    network, scores = _flowing(seed, dtype, bias=False)
    sizes = [layer.weight.detach().double().abs().tolist() for layer in network if isinstance(layer, nn.Linear)]
    expected = [torch.zeros(one.shape, dtype=DOUBLE) for one in scores]
    for path in itertools.product(range(6), range(9), range(7), range(4)):
        entries = [(path[layer + 1], path[layer]) for layer in range(3)]
        through = math.prod(sizes[layer][row][column] for layer, (row, column) in enumerate(entries))
        for layer, entry in enumerate(entries):
            expected[layer][entry] += through
    return max(apart(one, other) for one, other in zip(scores, expected, strict=True))


CHECKS = (
    Check(
        "GraSP: Hessian times gradient",
        "evidence.hessian_gradients",
        "`torch.func.hessian`, `grad`",
        "4-5-3",
        hessian_gradient,
        1e-10,
        1e-4,
    ),
    Check("GraSP's score", "score.grasp", "central differences of the squared gradient", "3-4-2", grasp, 1e-6),
    Check("SNIP's score", "score.taylor", "central differences in a connection's strength", "4-5-3", snip, 1e-6),
    Check("OBD at a minimum", "score.obd", "each weight zeroed", "4-3, 30 rows", obd, 1e-7, 1e-4),
    Check("Wanda, squared", "score.wanda", "each weight zeroed", "3x3, 4 to 6 in 2 groups", wanda, 1e-7, 1e-4),
    Check("SynFlow enters and leaves a unit", "score.synflow", "conservation", "6-9-7-4, biases", synflow_units, 1e-12),
    Check("SynFlow's sum in each layer", "score.synflow", "conservation", "6-9-7-4", synflow_layers, 1e-12),
    Check("SynFlow's scores", "score.synflow", "1,512 paths, one by one", "6-9-7-4", synflow_paths, 1e-12),
)
