"""Each method's gradient, counts and schedule, by the formulas of its paper worked out with plain tensors."""

from collections.abc import Callable
from math import floor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus import scope
from prunus.errors import PrunusError
from prunus.supermask import Bernoulli, EdgePopup, GemMiner, Start

INPUTS = torch.tensor([[1.0, 2.0, -1.0], [0.5, -1.0, 3.0]])
SHARES = torch.tensor([[1.0, -2.0], [0.5, 4.0]])  # the gradient of the loss in the outputs


def linear() -> nn.Module:
    return nn.Linear(3, 2)


def gradients(learning: EdgePopup | Bernoulli | GemMiner) -> Tensor:
    """Of the scores of a single layer, for the loss sum(outputs * SHARES)."""
    (learning.network(INPUTS) * SHARES).sum().backward()
    (scores,) = learning.scores.values()
    assert scores.grad is not None
    return scores.grad


def effective() -> Tensor:
    """The gradient of that loss in the effective weights: sum over rows of share_v * input_u."""
    return torch.tensor([[sum(SHARES[r, v] * INPUTS[r, u] for r in range(2)) for u in range(3)] for v in range(2)])


def set_scores(learning: EdgePopup | Bernoulli | GemMiner, values: list[list[float]]) -> None:
    with torch.no_grad():
        for scores in learning.scores.values():
            scores.copy_(torch.tensor(values))


def test_edge_popup_moves_every_score_by_input_times_weight_times_gradient() -> None:
    learning = EdgePopup(linear(), Start("uniform", 1), 0.5)
    values = [[0.1, -0.9, 0.3], [-0.2, 0.8, 0.05]]
    set_scores(learning, values)
    learning.after_step(1)
    assert learning.found().mask["weight"].tolist() == [[False, True, True], [False, True, False]]
    weight = Start("uniform", 1).drawn({"weight": (2, 3)})["weight"].values((2, 3))
    kept = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    assert torch.equal(learning.network(INPUTS), INPUTS @ (weight * kept).T)
    expected = effective() * weight * torch.tensor(values).sign()  # also of edges that are not kept
    assert torch.allclose(gradients(learning), expected)


def test_bernoulli_goes_straight_through_to_the_chances() -> None:
    learning = Bernoulli(linear(), Start("uniform", 2), rescale=0)
    logits = [[0.5, -1.0, 2.0], [0.0, 3.0, -2.0]]
    set_scores(learning, logits)
    learning.network.train()
    torch.manual_seed(5)
    found = gradients(learning)
    chances = torch.tensor(logits).sigmoid()
    torch.manual_seed(5)
    kept = (torch.rand(2, 3) < chances).float()
    weight = Start("uniform", 2).drawn({"weight": (2, 3)})["weight"].values((2, 3))
    torch.manual_seed(5)
    assert torch.equal(learning.network(INPUTS), INPUTS @ (weight * kept).T)
    assert torch.allclose(found, effective() * weight * chances * (1 - chances))


def test_bernoulli_rescales_by_what_was_sampled() -> None:
    learning = Bernoulli(linear(), Start(seed=2))
    set_scores(learning, [[30.0, -30.0, 30.0], [-30.0, -30.0, 30.0]])  # certain
    weight = Start(seed=2).drawn({"weight": (2, 3)})["weight"].values((2, 3))
    kept = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    for training in (True, False):
        learning.network.train(training)
        assert torch.allclose(learning.network(INPUTS), INPUTS @ (2 * weight * kept).T)  # 6 / 3 kept
    assert torch.allclose(learning.found().weights()["weight"], 2 * weight * kept)


def test_bernoulli_samples_as_often_as_the_chances_say() -> None:
    assert Bernoulli(nn.Linear(100, 100), Start()).found().mask.kept == 0  # none is likelier kept than not
    learning = Bernoulli(nn.Linear(100, 100), Start(), chance=0.2)
    assert learning.found().mask.kept == 0
    samples = [learning.sampled(torch.Generator().manual_seed(seed)).mask for seed in range(4)]
    assert all(0.17 < sample.density < 0.23 for sample in samples)  # seven deviations of 0.004
    assert samples[0] != samples[1]
    assert samples[0] == learning.sampled(torch.Generator().manual_seed(0)).mask
    learning.network.train()
    torch.manual_seed(0)
    first, second = (learning.network(torch.ones(1, 100)) for _ in range(2))
    assert not torch.equal(first, second)


def test_gem_miner_rescales_so_that_the_variance_stays() -> None:
    learning = GemMiner(linear(), Start(seed=3), 0.5, every=1, freezings=1, rescale=0.5)
    set_scores(learning, [[0.6, 0.1, 1.0], [0.2, 0.7, 0.0]])
    weight = Start(seed=3).drawn({"weight": (2, 3)})["weight"].values((2, 3))
    kept = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    assert torch.allclose(learning.network(INPUTS), INPUTS @ (2**0.5 * weight * kept).T)  # 6 / 3 kept
    assert torch.allclose(learning.found().weights()["weight"], 2**0.5 * weight * kept)
    assert torch.allclose(gradients(learning), effective() * 2**0.5 * weight)


def test_gem_miner_rounds_and_pulls_scores_down() -> None:
    learning = GemMiner(linear(), Start("uniform", 3), 0.5, every=1, freezings=1, strength=0.25)
    values = [[0.5, 0.49, 1.0], [0.2, 0.7, 0.0]]
    set_scores(learning, values)
    weight = Start("uniform", 3).drawn({"weight": (2, 3)})["weight"].values((2, 3))
    kept = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    assert torch.equal(learning.network(INPUTS), INPUTS @ (weight * kept).T)
    learning.penalty().backward()
    found = gradients(learning)
    assert torch.allclose(found, effective() * weight + 2 * 0.25 * torch.tensor(values))


def test_gem_miner_gives_nothing_to_what_is_frozen_out() -> None:
    learning = GemMiner(linear(), Start("uniform", 3), 0.5, every=1, freezings=1, strength=1.0)
    set_scores(learning, [[0.9, 0.1, 1.7], [0.2, 0.7, -0.4]])
    learning.after_step(1)
    assert learning.scores["weight"].tolist() == [[pytest.approx(0.9), 0, 1], [0, pytest.approx(0.7), 0]]
    learning.penalty().backward()
    alive = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    weight = Start("uniform", 3).drawn({"weight": (2, 3)})["weight"].values((2, 3))
    expected = (effective() * weight + 2 * learning.scores["weight"].detach()) * alive
    assert torch.allclose(gradients(learning), expected)
    set_scores(learning, [[0.4, 0.9, 0.9], [0.9, 0.9, 0.9]])  # a momentum may have moved them all
    learning.after_step(2)
    assert learning.scores["weight"].eq(0).tolist() == (alive == 0).tolist()
    assert learning.found().mask["weight"].tolist() == [[False, False, True], [False, True, False]]
    assert learning.survivors()["weight"].tolist() == (alive == 1).tolist()


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(50, 40), nn.Linear(40, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(F.relu(self.first(inputs)))  # type: ignore[no-any-return]


def test_gem_miner_shrinks_by_the_same_factor_each_time() -> None:
    learning = GemMiner(Two(), Start(), 0.02, every=3, freezings=5)
    total = 50 * 40 + 40 * 10
    for step in range(1, 25):
        before = {name: mask.clone() for name, mask in learning.survivors().items()}
        learning.after_step(step)
        after = learning.survivors()
        number = min(step // 3, 5)
        assert after.kept == floor(total * 0.02 ** (number / 5) + 0.5)
        assert all((before[name] | ~after[name]).all() for name in after)  # nothing comes back
        if step == 3:  # globally: the least scores of all tensors together
            least = min(float(learning.scores[name].detach()[after[name]].min()) for name in after)
            start = GemMiner(Two(), Start(), 0.02, every=3, freezings=5).scores
            assert all(float(start[name].detach()[~after[name]].max()) <= least for name in after)
    assert after.kept == round(0.02 * total)


@pytest.mark.parametrize("density", [0.07, 0.5, 1.0])
def test_edge_popup_keeps_exactly(density: float) -> None:
    within, among = EdgePopup(Two(), Start(), density), EdgePopup(Two(), Start(), density, scope=scope.network)
    counts = {name: int(mask.sum()) for name, mask in within.found().mask.items()}
    assert counts == {"first.weight": floor(2000 * density + 0.5), "second.weight": floor(400 * density + 0.5)}
    assert among.found().mask.kept == floor(2400 * density + 0.5)
    scores = [scores.detach().abs() for scores in among.scores.values()]
    kept = list(among.found().mask.values())
    left = [score[~mask] for score, mask in zip(scores, kept, strict=True) if not mask.all()]
    if left:
        assert max(map(torch.max, left)) <= min(score[mask].min() for score, mask in zip(scores, kept, strict=True))


def test_scores_start_as_the_papers_have_it() -> None:
    edges, gems = EdgePopup(Two(), Start(), 0.5), GemMiner(Two(), Start(), 0.5, every=1, freezings=1)
    for name, fan_in in (("first.weight", 50), ("second.weight", 40)):
        assert edges.scores[name].detach().abs().max() == pytest.approx(fan_in**-0.5, rel=0.02)
        assert gems.scores[name].detach().min() >= 0
        assert gems.scores[name].detach().mean() == pytest.approx(0.5, abs=0.06)


class Tied(Two):
    def __init__(self) -> None:
        super().__init__()
        self.third = nn.Linear(50, 40)
        self.third.weight = self.first.weight


@pytest.mark.parametrize(
    ("begin", "message"),
    [
        (lambda: EdgePopup(Tied(), Start(), 0.5), "third.weight is tied to another weight"),
        (lambda: Bernoulli(Two(), Start(), chance=1.0), r"above 0 and below 1 at first, found 1\.0"),
        (lambda: GemMiner(Two(), Start(), 0.0, every=1, freezings=1), r"density 0\.0 is outside \(0, 1\]"),
        (lambda: GemMiner(Two(), Start(), 0.5, every=1, freezings=0), "found 0 times, every 1 steps"),
        (lambda: Bernoulli(Two(), Start(), rescale=2), "rescale is 0, 0.5 or 1, found 2"),
        (lambda: EdgePopup(Two(), Start(), 1.5), r"density 1\.5 is outside"),
    ],
)
def test_refused(begin: Callable[[], object], message: str) -> None:
    with pytest.raises(PrunusError, match=message):
        begin()
