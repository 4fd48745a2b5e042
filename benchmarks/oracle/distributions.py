"""Distributions beside quadrature."""

import math

import numpy as np
import torch
from scipy import integrate

from oracle.shared import DOUBLE, Check
from prunus.reparametrised.hard_concrete import chance_open, drawn
from prunus.reparametrised.variational import divergence


def exact_divergence(log_alpha: float) -> float:
    """Of N(1, alpha) from the log-uniform prior: -log(alpha) / 2 + E log|1 + s z| + (Euler's + log 2) / 2.

    log|1 + s z| is log s and log|z + 1 / s|, whose singularity the quadrature is told of.
    """
    spread = math.exp(log_alpha / 2)
    pole, ends = -1 / spread, (-12.0, 12.0)
    if pole < ends[0]:
        mean = integrate.quad(lambda z: _normal(z) * math.log1p(spread * z), *ends)[0]
    else:
        left = integrate.quad(_normal, ends[0], pole, weight="alg-logb", wvar=(0, 0))[0]
        mean = log_alpha / 2 + left + integrate.quad(_normal, pole, ends[1], weight="alg-loga", wvar=(0, 0))[0]
    return -log_alpha / 2 + mean + (np.euler_gamma + math.log(2)) / 2


def _normal(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def kullback_leibler(seed: int, dtype: torch.dtype) -> float:
    at = [-10 + step / 4 for step in range(81)]
    found = divergence(torch.tensor(at, dtype=dtype)).double()
    return float((found - torch.tensor([exact_divergence(one) for one in at])).abs().max())


def _concrete(log_alpha: float) -> tuple[float, float]:
    """The chance to be 0 and the mean of a gate, from the binary concrete density (Maddison et al. 2017)."""
    beta, low, high, odds = 2 / 3, -0.1, 1.1, math.exp(log_alpha)

    def density(s: float) -> float:
        return beta * odds * (s * (1 - s)) ** (-beta - 1) / (odds * s**-beta + (1 - s) ** -beta) ** 2

    zero, one = -low / (high - low), (1 - low) / (high - low)
    closed, full = (integrate.quad(density, *ends, epsabs=1e-13)[0] for ends in ((1e-300, zero), (one, 1)))
    between = integrate.quad(lambda s: density(s) * (s * (high - low) + low), zero, one, epsabs=1e-13)[0]
    return closed, between + full


def gates_open(seed: int, dtype: torch.dtype) -> float:
    at = [-4 + step / 2 for step in range(17)]
    expected = torch.tensor([1 - _concrete(one)[0] for one in at], dtype=DOUBLE)
    return float((chance_open(torch.tensor(at, dtype=dtype)).double() - expected).abs().max())


def mean_gate(seed: int, dtype: torch.dtype) -> float:
    noise = (torch.arange(200_000, dtype=dtype) + 0.5) / 200_000
    at = [-3.0, -0.7, 0.0, 2.0]
    return max(abs(float(drawn(torch.tensor(one, dtype=dtype), noise).mean()) - _concrete(one)[1]) for one in at)


CHECKS = (
    Check(
        "variational KL: the published approximation itself, absolute",
        "variational.divergence",
        "scipy quadrature",
        "log alpha -10 to 10, by 0.25",
        kullback_leibler,
        0.0094,
        0.0094,
        draws=1,
    ),
    Check(
        "L0: chance that a gate is open, absolute",
        "hard_concrete.chance_open",
        "scipy quadrature of the density",
        "log alpha -4 to 4",
        gates_open,
        1e-9,
        1e-6,
        draws=1,
    ),
    Check(
        "L0: mean gate, absolute",
        "hard_concrete.drawn",
        "scipy quadrature of the density",
        "200,000 even noises",
        mean_gate,
        1e-6,
        draws=1,
    ),
)
