"""Methods that move the weights they keep, beside least squares solved anew."""

import numpy as np
import torch
from torch import Tensor, nn

from oracle.shared import DOUBLE, Check, apart
from prunus import scope
from prunus.curvature import inverse_hessian
from prunus.layerwise import l_obs, obs, reconstruct, sparsegpt
from prunus.mask import Mask


def correlated(seed: int, dtype: torch.dtype, rows: int = 4, columns: int = 12) -> tuple[Tensor, Tensor]:
    """(weights (rows, columns), inputs (60, columns)): directions of the inputs differ a hundredfold in size."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(columns, columns, generator=generator, dtype=DOUBLE)
    inputs = torch.randn(60, columns, generator=generator, dtype=DOUBLE) * torch.logspace(0, -2, columns) @ mixed
    return torch.randn(rows, columns, generator=generator, dtype=DOUBLE).to(dtype), inputs.to(dtype)


def solved(row: np.ndarray, inputs: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, float]:
    """The best row for the outputs `inputs @ row` with zeros where not `kept`, and its squared error."""
    found = np.zeros_like(row)
    found[kept] = np.linalg.lstsq(inputs[:, kept], inputs @ row, rcond=None)[0]
    return found, float(np.square(inputs @ (found - row)).sum())


def greedy(row: np.ndarray, inputs: np.ndarray, keep: int) -> np.ndarray:
    """The entry goes whose removal costs least, all others solved for anew, until `keep` are left."""
    kept = np.ones(len(row), dtype=bool)
    while kept.sum() > keep:
        trials = {}
        for place in kept.nonzero()[0]:
            kept[place] = False
            trials[place] = solved(row, inputs, kept)[1]
            kept[place] = True
        kept[min(trials, key=trials.__getitem__)] = False
    return kept


def _solved(own: Tensor, inputs: Tensor, mask: Tensor) -> Tensor:
    pairs = zip(own.double().numpy(), mask.numpy(), strict=True)
    return torch.from_numpy(np.stack([solved(row, inputs.double().numpy(), kept)[0] for row, kept in pairs]))


def _differing(own: Tensor, inputs: Tensor, mask: Tensor, keep: int) -> float:
    expected = [greedy(row, inputs.double().numpy(), keep) for row in own.double().numpy()]
    return float((mask != torch.from_numpy(np.stack(expected))).sum())


def _obs(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    own, inputs = correlated(seed, DOUBLE, rows=1)
    layer = nn.Linear(12, 1, bias=False).double()
    layer.weight.data = own.clone()

    def loss(outputs: Tensor, wanted: Tensor) -> Tensor:
        return (outputs - wanted).square().sum(1).mean()

    rows = [(some, some @ own.T) for some in inputs.split(7)]
    moved, mask = obs(layer, inverse_hessian(layer, rows, damping=1e-10, loss=loss), 0.5)
    return own, inputs, moved["weight"], mask["weight"]


def obs_masks(seed: int, dtype: torch.dtype) -> float:
    own, inputs, _, mask = _obs(seed)
    return _differing(own, inputs, mask, 6)


def obs_weights(seed: int, dtype: torch.dtype) -> float:
    own, inputs, moved, mask = _obs(seed)
    return apart(moved, _solved(own, inputs, mask))


def _l_obs(seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    own, inputs = correlated(seed, dtype)
    moved, mask = l_obs({"w": own}, {"w": inputs.T @ inputs}, 0.5, scope=scope.row, damping=1e-13)
    return own, inputs, moved["w"], mask["w"]


def l_obs_masks(seed: int, dtype: torch.dtype) -> float:
    own, inputs, _, mask = _l_obs(seed, dtype)
    return _differing(own, inputs, mask, 6)


def l_obs_weights(seed: int, dtype: torch.dtype) -> float:
    own, inputs, moved, mask = _l_obs(seed, dtype)
    return apart(moved, _solved(own, inputs, mask))


def least_squares(seed: int, dtype: torch.dtype) -> float:
    own, inputs = correlated(seed, dtype)
    mask = Mask({"w": torch.rand(own.shape, generator=torch.Generator().manual_seed(seed)) < 0.5})
    moved = reconstruct({"w": own}, mask, {"w": inputs.T @ inputs}, damping=0)["w"]
    return apart(moved, _solved(own, inputs, mask["w"]))


def _sparsegpt(seed: int, dtype: torch.dtype, block: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    own, inputs = correlated(seed, dtype)
    how = {"scope": scope.row, "block": block, "selection": 12}
    moved, mask = sparsegpt({"w": own}, {"w": inputs.T @ inputs}, 0.5, **how)
    return own, inputs, moved["w"], mask["w"]


def sparsegpt_weights(seed: int, dtype: torch.dtype) -> float:
    """Column by column: what is kept stays as it is, what is pruned goes, and all to the right is solved for anew."""
    own, inputs, moved, mask = _sparsegpt(seed, dtype, 4)
    gram = inputs.double().T @ inputs.double()
    more = (0.01 * gram.diagonal().mean()).sqrt() * torch.eye(12, dtype=DOUBLE)
    read = torch.cat([inputs.double(), more]).numpy()
    expected = []
    for row, kept in zip(own.double().numpy(), mask.numpy(), strict=True):
        found = row.copy()
        for place in range(12):
            if not kept[place]:
                found[place] = 0
                right = read @ row - read[:, : place + 1] @ found[: place + 1]
                found[place + 1 :] = np.linalg.lstsq(read[:, place + 1 :], right, rcond=None)[0]
        expected.append(found)
    return apart(moved, torch.from_numpy(np.stack(expected)))


def sparsegpt_blocks(seed: int, dtype: torch.dtype) -> float:
    expected = _sparsegpt(seed, dtype, 12)[2].double()
    return max(apart(_sparsegpt(seed, dtype, block)[2], expected) for block in (1, 2, 3, 4, 6))


CHECKS = (
    Check(
        "OBS: weights kept, of which differ",
        "layerwise.obs",
        "numpy lstsq for every removal",
        "12, 6 kept",
        obs_masks,
        0,
    ),
    Check("OBS: their values", "layerwise.obs", "numpy lstsq", "12, 6 kept", obs_weights, 1e-5),
    Check(
        "L-OBS: weights kept, of which differ",
        "layerwise.l_obs",
        "numpy lstsq for every removal",
        "4 rows of 12, 6 kept",
        l_obs_masks,
        0,
    ),
    Check("L-OBS: their values", "layerwise.l_obs", "numpy lstsq", "4 rows of 12, 6 kept", l_obs_weights, 1e-8),
    Check("least squares for a mask", "layerwise.reconstruct", "numpy lstsq", "4 x 12", least_squares, 1e-8),
    Check(
        "SparseGPT's values",
        "layerwise.sparsegpt",
        "numpy lstsq, column by column",
        "4 rows of 12, 6 kept",
        sparsegpt_weights,
        1e-10,
        1e-4,
    ),
    Check(
        "SparseGPT in blocks of 1, 2, 3, 4, 6",
        "layerwise.sparsegpt",
        "in one block",
        "4 rows of 12, 6 kept",
        sparsegpt_blocks,
        1e-10,
        1e-4,
    ),
)
