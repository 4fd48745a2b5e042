"""What `prune` promises around score, pattern and scope."""

import pytest
import torch
from torch import nn

from prunus import scope, score
from prunus.errors import PrunusError
from prunus.pattern import block, channel
from prunus.pruning import prune


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 15), nn.ReLU(), nn.Linear(15, 10))


def test_the_model_is_not_touched():
    network = model()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    prune(network, score.magnitude, 0.1)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("density", [0, -0.5, 1.0001, float("nan")])
def test_densities_outside_are_refused(density):
    with pytest.raises(PrunusError, match="outside"):
        prune(model(), score.magnitude, density)


def test_a_tree_stands_for_a_model():
    network = model()
    tree = {"0.weight": network[0].weight.detach(), "2.weight": network[2].weight.detach()}
    assert prune(tree, score.magnitude, 0.3) == prune(network, score.magnitude, 0.3)


def test_missing_evidence_says_what_to_pass():
    with pytest.raises(PrunusError, match="score movement needs `initial`: pass initial="):
        prune(model(), score.movement, 0.5)


def test_a_users_own_score_needs_no_import():
    def last_rows(weights):
        return {name: torch.arange(w.numel()).reshape(w.shape) for name, w in weights.items()}

    mask = prune(model(), last_rows, 0.2, scope=scope.tensor)
    assert mask["0.weight"].any(1).tolist() == [False] * 12 + [True] * 3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            lambda weights: {n: w * torch.nan for n, w in weights.items()},
            "0.weight: score <lambda> is NaN at 300",
        ),
        (
            lambda weights: {n: w.sum(1) for n, w in weights.items()},
            r"has shape \(15,\), the weights \(15, 20\)",
        ),
        (lambda weights: {}, "missing 0.weight, 2.weight"),
        (lambda w: w, "must take `weights` first"),
    ],
)
def test_bad_scores_are_refused(bad, message):
    with pytest.raises(PrunusError, match=message):
        prune(model(), bad, 0.5)


def test_infinite_scores_are_lowest_and_highest():
    def certain(weights):
        signs = {n: torch.full_like(w, -torch.inf) for n, w in weights.items()}
        signs["2.weight"].fill_(torch.inf)
        return signs

    mask = prune(model(), certain, 160 / 450)
    assert mask["2.weight"].all()
    assert mask["0.weight"].sum() == 10


def test_within_keeps_only_what_was_kept():
    """Two rounds of 50 % keep a quarter, and the second round ranks only survivors."""
    network = model()
    first = prune(network, score.small_final, 0.5)
    second = prune(network, score.magnitude, 0.25, within=first)
    assert (second & first) == second
    assert second.kept == 113  # 112.5, half up
    survivors = torch.cat([w.detach().abs()[first[n]] for n, w in network.named_parameters() if n in first])
    limit = survivors.sort(descending=True).values[second.kept - 1]
    for name, parameter in network.named_parameters():
        if name in second:
            assert torch.equal(second[name], first[name] & (parameter.abs() >= limit))


def test_within_with_channels():
    network = model()
    first = prune(network, score.magnitude, 0.6, pattern=channel(0), scope=scope.tensor)
    second = prune(network, score.magnitude, 0.2, pattern=channel(0), scope=scope.tensor, within=first)
    assert (second & first) == second
    assert second["0.weight"].all(1).sum() == 3
    assert second["2.weight"].all(1).sum() == 2


def test_more_than_within_still_has_is_refused():
    first = prune(model(), score.magnitude, 0.2)
    with pytest.raises(PrunusError, match=r"more is to be kept than `within` \(density 0\.2\)"):
        prune(model(), score.magnitude, 0.5, within=first)


def test_a_layer_pruned_to_nothing_is_refused_unless_asked_for():
    network = model()
    network[2].weight.data *= 1e-6
    with pytest.raises(PrunusError, match=r"2\.weight: nothing of its 150 weights would be kept"):
        prune(network, score.magnitude, 0.1)
    assert prune(network, score.magnitude, 0.1, allow_empty=True).kept == 45


def test_a_pattern_that_does_not_divide_is_refused():
    with pytest.raises(PrunusError, match="blocks of 4 x 4 do not divide a 15 x 20"):
        prune(model(), score.magnitude, 0.5, pattern=block(4, 4))
