"""Second derivatives of losses."""

import numpy as np
import torch
from torch import Tensor, nn

from oracle.shared import DOUBLE, Check, apart, batches, flat, hessian_of, loss_of, perceptron, rows_of, squared_error
from prunus.curvature import (
    hessian_diagonals,
    hessian_vector_product,
    hutchinson_diagonals,
    inverse_hessian,
    squared_gradients,
)
from prunus.tree import weights


def swept(seed: int, dtype: torch.dtype) -> float:
    network, rows = perceptron(seed, dtype, 4, 5, 3), rows_of(seed, dtype, 4)
    found = hessian_diagonals(network, batches(rows), squared_error)
    return apart(flat(found), hessian_of(network, rows, squared_error).diagonal())


def swept_deep(seed: int, dtype: torch.dtype) -> float:
    network, rows = perceptron(seed, dtype, 4, 5, 4, 3), rows_of(seed, dtype, 4)
    return apart(flat(hessian_diagonals(network, batches(rows))), hessian_of(network, rows).diagonal())


def swept_convolution(seed: int, dtype: torch.dtype) -> float:
    """The oracle differentiates the gradient of each weight once more, one at a time."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 3, 4), nn.BatchNorm2d(3), nn.Softplus(), nn.Flatten(), nn.Linear(3, 2)]
    network, rows = nn.Sequential(*layers).to(dtype).eval(), rows_of(seed, dtype, 2, 4, 4, classes=2)
    found = hessian_diagonals(network, batches(rows), squared_error)
    of, vector = loss_of(network, rows, squared_error)
    vector.requires_grad_()
    (slope,) = torch.autograd.grad(of(vector), vector, create_graph=True)
    twice = [torch.autograd.grad(one, vector, retain_graph=True)[0][place] for place, one in enumerate(slope)]
    return apart(flat(found), torch.stack(twice).detach())


def product(seed: int, dtype: torch.dtype) -> float:
    network, rows, vector = _with_vector(seed, dtype)
    found = hessian_vector_product(network, vector, batches(rows))
    return apart(flat(found), hessian_of(network, rows) @ flat(vector).double())


def product_by_differences(seed: int, dtype: torch.dtype) -> float:
    network, rows, vector = _with_vector(seed, dtype)
    found, step = flat(hessian_vector_product(network, vector, batches(rows))), 1e-5
    of, own = loss_of(network, rows)
    slope = torch.func.grad(of)
    return apart(found, (slope(own + step * flat(vector)) - slope(own - step * flat(vector))) / (2 * step))


def _with_vector(seed: int, dtype: torch.dtype) -> tuple[nn.Module, tuple[Tensor, Tensor], dict[str, Tensor]]:
    network = perceptron(seed, dtype, 4, 5, 4, 3)
    return network, rows_of(seed, dtype, 4), {name: torch.randn_like(one) for name, one in weights(network).items()}


def _hutchinson(seed: int, samples: int, repeats: int) -> tuple[Tensor, Tensor]:
    """(repeats, weights): errors of the estimate, and (weights,) the standard error that theory gives it."""
    network, rows = perceptron(seed, DOUBLE, 4, 4, 3), rows_of(seed, DOUBLE, 4)
    exact, found = hessian_of(network, rows), []
    for repeat in range(repeats):
        generator = torch.Generator().manual_seed(1000 * seed + repeat)
        found.append(flat(hutchinson_diagonals(network, [rows], generator, samples=samples)) - exact.diagonal())
    return torch.stack(found), ((exact.square().sum(1) - exact.diagonal().square()) / samples).sqrt()


def hutchinson(seed: int, dtype: torch.dtype) -> float:
    errors, deviation = _hutchinson(seed, 100, 3)
    return abs(float((errors / deviation).square().mean().sqrt()) - 1)


def hutchinson_slope(seed: int, dtype: torch.dtype) -> float:
    counts = (8, 32, 128)
    sizes = [float(_hutchinson(seed, count, 8)[0].square().mean().sqrt()) for count in counts]
    return abs(np.polyfit(np.log(counts), np.log(sizes), 1)[0] + 0.5)


def inverse(seed: int, dtype: torch.dtype) -> float:
    network, rows = perceptron(seed, dtype, 4, 3), rows_of(seed, dtype, 4)
    found = inverse_hessian(network, batches(rows), damping=0.01)
    return apart(found, torch.linalg.inv(hessian_of(network, rows) + 0.01 * torch.eye(12, dtype=DOUBLE)))


def fisher(seed: int, dtype: torch.dtype) -> float:
    network, (inputs, labels) = perceptron(seed, dtype, 4, 5, 3), rows_of(seed, dtype, 4)
    found = squared_gradients(network, batches((inputs, labels)))
    expected = torch.zeros(35, dtype=DOUBLE)
    for row in zip(inputs[:, None], labels[:, None], strict=True):
        of, own = loss_of(network, row)
        expected += torch.func.grad(of)(own).square() / len(inputs)
    return apart(flat(found), expected)


CHECKS = (
    Check(
        "Hessian's diagonal, squared error",
        "curvature.hessian_diagonals",
        "`torch.func.hessian`",
        "4-5-3, tanh",
        swept,
        1e-11,
        1e-4,
    ),
    Check(
        "Hessian's diagonal, cross-entropy: Optimal Brain Damage's approximation itself",
        "curvature.hessian_diagonals",
        "`torch.func.hessian`",
        "4-5-4-3, tanh",
        swept_deep,
        None,
    ),
    Check(
        "Hessian's diagonal, convolution and BatchNorm",
        "curvature.hessian_diagonals",
        "autograd twice, weight by weight",
        "96 and 6 weights",
        swept_convolution,
        1e-11,
        1e-4,
    ),
    Check(
        "Hessian times a vector",
        "curvature.hessian_vector_product",
        "`torch.func.hessian`",
        "4-5-4-3, tanh",
        product,
        1e-10,
        1e-4,
    ),
    Check(
        "Hessian times a vector",
        "curvature.hessian_vector_product",
        "central differences of gradients",
        "4-5-4-3, tanh",
        product_by_differences,
        1e-6,
    ),
    Check(
        "Hutchinson's errors over their standard error, less 1",
        "curvature.hutchinson_diagonals",
        "variance from the whole Hessian",
        "4-4-3; 3 x 28 of 100 samples",
        hutchinson,
        0.3,
    ),
    Check(
        "exponent of the number of samples in Hutchinson's error, beside -1/2",
        "curvature.hutchinson_diagonals",
        "fit over 8, 32 and 128 samples",
        "4-4-3; 8 x 28 each",
        hutchinson_slope,
        0.15,
        draws=1,
    ),
    Check(
        "damped inverse of the Hessian",
        "curvature.inverse_hessian",
        "`torch.linalg.inv` of `torch.func.hessian`",
        "4-3",
        inverse,
        1e-10,
        1e-4,
    ),
    Check(
        "Fisher: squared gradients of samples",
        "curvature.squared_gradients",
        "`torch.func.grad`, row by row",
        "4-5-3, 9 rows",
        fisher,
        1e-7,
        1e-4,
    ),
)
