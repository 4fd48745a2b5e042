"""Masks that move, groups of weights, paths and ranks."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy import optimize
from torch import Tensor, nn

from oracle.shared import DOUBLE, Check, apart, perceptron, rows_of
from prunus import hold
from prunus.low_rank import split
from prunus.mask import Mask
from prunus.pattern import Pattern, channel, column, element, whole
from prunus.reachability import effective
from prunus.rewiring import rewired, rigl
from prunus.structured import proximal
from prunus.tree import weights


def one_update(seed: int, dtype: torch.dtype) -> float:
    """By sorting places, which settles equal scores by the lowest index."""
    generator = torch.Generator().manual_seed(seed)
    drop, grow = (torch.randint(40, (9, 23), generator=generator).to(dtype) for _ in range(2))
    mask = Mask({"w": torch.rand(9, 23, generator=generator) < 0.3})
    differing = 0
    for fraction in (0.0, 0.1, 0.3, 0.77, 1.0):
        places = mask["w"].reshape(-1).nonzero()[:, 0].tolist()
        leaving, drops, grows = math.floor(fraction * len(places)), drop.reshape(-1).tolist(), grow.reshape(-1).tolist()
        staying = sorted(places, key=lambda place: (-drops[place], place))[: len(places) - leaving]
        others = sorted(set(range(207)) - set(staying), key=lambda place: (-grows[place], place))
        found = rewired(mask, {"w": drop}, {"w": grow}, fraction)["w"].reshape(-1).nonzero()[:, 0].tolist()
        differing += len(set(found) ^ {*staying, *others[:leaving]})
    return float(differing)


def rigl_counts(seed: int, dtype: torch.dtype) -> float:
    """Entries of a tensor more or fewer than at first, that left beyond floor(f k), or in a step that moves none."""
    network, wrong = perceptron(seed, dtype, 6, 10, 4), 0
    optimizer = torch.optim.SGD(network.parameters(), lr=0.3, momentum=0.9)
    generator = torch.Generator().manual_seed(seed)
    mask = Mask({name: torch.rand(one.shape, generator=generator) < 0.4 for name, one in weights(network).items()})
    with hold(optimizer, network, mask) as held:
        rewire = rigl(held, optimizer, network, end=21, every=4, fraction=0.5)
        for step in range(1, 31):
            before, (inputs, labels) = held.mask, rows_of(31 * seed + step, dtype, 6, classes=4)
            optimizer.zero_grad()
            F.cross_entropy(network(inputs), labels).backward()
            optimizer.step()
            rewire(step)
            share = 0.25 * (1 + math.cos(math.pi * step / 21)) if step < 21 and step % 4 == 0 else 0.0
            for name, kept in held.mask.items():
                count = int(mask[name].sum())
                wrong += abs(int(kept.sum()) - count)
                wrong += max(0, int((before[name] & ~kept).sum()) - math.floor(share * count))
    return float(wrong)


GROUPS: dict[Pattern, Callable[[Tensor], Tensor]] = {  # from numbered entries (filters, channels, h, w) to groups' rows
    element: lambda places: places.reshape(-1, 1),
    channel(0): lambda places: places.flatten(1),
    channel(1): lambda places: places.transpose(0, 1).flatten(1),
    column: lambda places: places.flatten(1).T,
    whole: lambda places: places.reshape(1, -1),
}


def lasso(seed: int, dtype: torch.dtype) -> float:
    """By Moreau: less the nearest point within the threshold of 0, which a general solver under a constraint finds."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(4, 3, 2, 2, dtype=DOUBLE, generator=generator).to(dtype)
    errors = []
    for pattern, groups in GROUPS.items():
        expected, threshold = w.double().reshape(-1).numpy().copy(), 2.0 if pattern != element else 0.5
        for own in groups(torch.arange(w.numel()).reshape(w.shape)).numpy():
            expected[own] -= _nearest_within(expected[own], threshold)
        errors.append(apart(proximal(w, pattern, threshold).reshape(-1), torch.from_numpy(expected)))
    return max(errors)


def _nearest_within(point: np.ndarray, radius: float) -> np.ndarray:
    inside = {"type": "ineq", "fun": lambda u: radius**2 - u @ u, "jac": lambda u: -2 * u}
    found = optimize.minimize(
        lambda u: (u - point) @ (u - point) / 2,
        np.zeros_like(point),
        jac=lambda u: u - point,
        constraints=[inside],
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return found.x


def paths(seed: int, dtype: torch.dtype) -> float:
    sizes, generator = (5, 6, 5, 3), torch.Generator().manual_seed(seed)
    network = perceptron(seed, dtype, *sizes, activation=nn.ReLU)
    mask = Mask({name: torch.rand(one.shape, generator=generator) < 0.3 for name, one in weights(network).items()})
    expected = {name: torch.zeros_like(kept) for name, kept in mask.items()}
    for path in itertools.product(*map(range, sizes)):
        entries = [(name, (path[layer + 1], path[layer])) for layer, name in enumerate(mask)]
        if all(mask[name][entry] for name, entry in entries):
            for name, entry in entries:
                expected[name][entry] = True
    found = effective(network, mask, torch.zeros(1, 5, dtype=dtype))
    return float(sum(int((found[name] != one).sum()) for name, one in expected.items()))


def eckart_young(seed: int, dtype: torch.dtype) -> float:
    weight = torch.randn(9, 14, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed)).to(dtype)
    squares = np.linalg.eigvalsh((weight.double() @ weight.double().T).numpy())  # smallest first
    errors = []
    for rank in range(1, 9):
        u, v = split(weight, rank)
        lost = float((weight.double() - v.double() @ u.double()).square().sum())
        errors.append(abs(lost / squares[: 9 - rank].sum() - 1))
    return max(errors)


CHECKS = (
    Check(
        "RigL: one update, entries that differ", "rewiring.rewired", "sorting", "5 shares of 207, ties", one_update, 0
    ),
    Check("RigL: counts over 30 steps, off by", "rewiring.rigl", "counting", "6-10-4", rigl_counts, 0),
    Check(
        "group lasso's proximal point, five patterns",
        "structured.proximal",
        "scipy SLSQP on the dual",
        "4 x 3 x 2 x 2",
        lasso,
        1e-7,
        1e-6,
    ),
    Check("entries on a path, that differ", "reachability.effective", "450 paths, one by one", "5-6-5-3", paths, 0),
    Check(
        "what low rank loses",
        "low_rank.split",
        "eigenvalues by numpy",
        "9 x 14, ranks 1 to 8",
        eckart_young,
        1e-10,
        1e-5,
    ),
)
