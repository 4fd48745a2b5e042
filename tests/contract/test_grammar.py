"""The contract matrix: every score x pattern x scope, on every kind of weights that breaks naive code."""

import pytest
import torch
from torch import nn

from prunus import scope, score
from prunus.pattern import block, channel, column, element, head, whole
from prunus.pruning import prune
from prunus.tree import weights

SCORES = [getattr(score, name) for name in score.__all__]
PATTERNS = [element, block(2, 2), channel(0), channel(1), head(2), column, whole]
SCOPES = {
    "network": (scope.network, 0.5),
    "tensor": (scope.tensor, 0.5),
    "row": (scope.row, 0.5),
    "2:4": (scope.n_of_m(2, 4), 0.5),
    "erk": (scope.erk, 0.5),
    "given": (scope.given({"0.weight": 0.75}), 0.5),
}
GRAMMAR = [
    pytest.param(pattern, *chosen, id=f"{pattern}-{name}")
    for pattern in PATTERNS
    for name, chosen in SCOPES.items()
    if not (name in ("row", "2:4") and pattern not in (element, block(2, 2)))  # refused by name: test_scope
    and not (name == "tensor" and pattern == whole)  # half of one atom is rounded in each tensor
]


def convolution():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 8, 2), nn.ReLU(), nn.Conv2d(8, 4, 2), nn.Flatten(), nn.Linear(16, 8))


def channels_last():
    return convolution().to(memory_format=torch.channels_last)


def half():
    return convolution().bfloat16()


def tied():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(16, 8), nn.Linear(8, 8), nn.Linear(8, 16))
    network[2].weight = network[0].weight
    return network


def equal_scores():
    network = convolution()
    for parameter in weights(network).values():
        parameter.data.fill_(0.5)
    return network


def evidence(network):
    flipped = {name: w.detach().flip(-1) for name, w in weights(network).items()}
    return {
        "initial": {name: w.detach().flip(0) for name, w in weights(network).items()},
        **dict.fromkeys(("gradients", "momenta", "hessian_gradients", "hessian_diagonals", "flows"), flipped),
        "squared_gradients": {name: w.square() for name, w in flipped.items()},
        "input_norms": {name: w.detach()[:1].abs() for name, w in weights(network).items()},
        "generator": torch.Generator().manual_seed(1),
    }


def made(network, function, pattern, where, density):
    return prune(network, function, density, pattern=pattern, scope=where, allow_empty=True, **evidence(network))


@pytest.mark.parametrize("build", [convolution, channels_last, half, tied, equal_scores])
@pytest.mark.parametrize(("pattern", "where", "density"), GRAMMAR)
@pytest.mark.parametrize("function", SCORES, ids=lambda f: f.__name__)
def test_counts_shapes_and_atoms(function, pattern, where, density, build):
    network = build()
    own = weights(network)
    mask = made(network, function, pattern, where, density)
    assert list(mask) == list(own)
    atoms = kept = 0
    for name, weight in own.items():
        assert mask[name].shape == weight.shape
        whole = pattern.atoms(mask[name].float())
        size = pattern.atoms(torch.ones_like(mask[name], dtype=torch.float32))
        assert bool(((whole == 0) | (whole == size)).all()), "an atom is split"
        atoms += whole.numel()
        kept += int((whole == size).sum())
    assert kept == scope.count(density, atoms)


@pytest.mark.parametrize(("pattern", "where", "density"), GRAMMAR)
def test_memory_layout_does_not_matter(pattern, where, density):
    plain, last = convolution(), channels_last()
    assert made(plain, score.magnitude, pattern, where, density) == made(last, score.magnitude, pattern, where, density)


def test_equal_scores_are_settled_by_lowest_index():
    mask = made(equal_scores(), score.magnitude, element, scope.tensor, 0.5)
    for kept in mask.values():
        flat = kept.reshape(-1)
        assert flat[: len(flat) // 2].all()
        assert not flat[len(flat) // 2 :].any()
