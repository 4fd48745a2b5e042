"""The same answers as a solver of integer programs, HiGHS, which knows nothing of halves."""

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

from prunus.subset_sum import closest, fewest


def least_error(target, items):
    """min z: |target - items x| <= z, x binary."""
    n = len(items)
    rows = np.vstack([np.append(items, -1.0), np.append(items, 1.0)])
    solved = milp(
        np.append(np.zeros(n), 1.0),
        constraints=LinearConstraint(rows, [-np.inf, target], [target, np.inf]),
        integrality=np.append(np.ones(n), 0),
        bounds=Bounds(np.zeros(n + 1), np.append(np.ones(n), np.inf)),
        options={"mip_rel_gap": 0.0},
    )
    return abs(np.round(solved.x[:n]) @ items - target)


def least_count(target, items, epsilon):
    """min sum of x: |target - items x| <= epsilon, x binary; None where there is none."""
    n = len(items)
    solved = milp(
        np.ones(n),
        constraints=LinearConstraint(items[None], target - epsilon, target + epsilon),
        integrality=np.ones(n),
        bounds=Bounds(0, 1),
    )
    return None if solved.x is None else round(solved.fun)


@pytest.mark.parametrize("n", [17, 18])
def test_closest(n):
    items = np.random.default_rng(n).integers(-1000, 1000, (2, n)) * 8.0  # coarse: HiGHS has tolerances of 1e-6
    targets = np.array([12345.0, -3.0])
    found = closest(torch.tensor(targets), torch.tensor(items, dtype=torch.float32))
    assert found.errors.tolist() == pytest.approx([least_error(t, a) for t, a in zip(targets, items, strict=True)])


@pytest.mark.parametrize(("n", "epsilon"), [(18, 0.01), (21, 0.001), (24, 0.001)])
def test_fewest(n, epsilon):
    random = np.random.default_rng(n)
    items, targets = random.uniform(-1, 1, (6, n)).astype(np.float32), random.uniform(-4, 4, 6)
    found = fewest(torch.tensor(targets), torch.tensor(items), epsilon)
    counts = [least_count(t, a.astype(float), epsilon) for t, a in zip(targets, items, strict=True)]
    assert [int(c) if ok else None for c, ok in zip(found.counts, found.within(epsilon), strict=True)] == counts
