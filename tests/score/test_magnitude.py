"""Zhou's scores against their definitions, entry by entry in plain Python."""

import importlib
import inspect
import math
import pkgutil

import pytest
import torch

from prunus import score
from prunus.mask import Mask
from prunus.pruning import prune
from prunus.scope import tensor as per_tensor
from prunus.testing.score import check_score

PLAIN = {
    score.magnitude: lambda i, f: abs(f),
    score.small_final: lambda i, f: -abs(f),
    score.large_initial: lambda i, f: abs(i),
    score.small_initial: lambda i, f: -abs(i),
    score.magnitude_increase: lambda i, f: abs(f) - abs(i),
    score.movement: lambda i, f: abs(f - i),
    score.large_final_same_sign: lambda i, f: max(0.0, i * f / abs(i)),
    score.large_final_different_sign: lambda i, f: max(0.0, -i * f / abs(i)),
}
SIGNED = {
    score.magnitude_increase_same_sign: lambda i, f: i * f > 0,
    score.magnitude_increase_different_sign: lambda i, f: i * f < 0,
}
INITIAL = {"w": torch.tensor([[0.5, -2.0, 1.5], [-0.25, 3.0, -1.0]], dtype=torch.float64)}
FINAL = {"w": torch.tensor([[-0.75, -1.0, 2.5], [0.5, 0.125, -4.0]], dtype=torch.float64)}


def evaluated(function):
    return function(FINAL, initial=INITIAL) if "initial" in function.__code__.co_varnames else function(FINAL)


@pytest.mark.parametrize("function", PLAIN, ids=lambda f: f.__name__)
def test_equals_its_definition(function):
    expected = [
        [PLAIN[function](i, f) for i, f in zip(*rows, strict=True)]
        for rows in zip(INITIAL["w"].tolist(), FINAL["w"].tolist(), strict=True)
    ]
    assert evaluated(function)["w"].tolist() == expected


@pytest.mark.parametrize("function", SIGNED, ids=lambda f: f.__name__)
def test_signed_increase_ranks_the_other_sign_last(function):
    scores = evaluated(function)["w"].reshape(-1).tolist()
    pairs = list(zip(INITIAL["w"].reshape(-1).tolist(), FINAL["w"].reshape(-1).tolist(), strict=True))
    chosen = [k for k, (i, f) in enumerate(pairs) if SIGNED[function](i, f)]
    others = [k for k in range(len(pairs)) if k not in chosen]
    assert chosen
    assert others
    assert [scores[k] for k in chosen] == [abs(pairs[k][1]) - abs(pairs[k][0]) for k in chosen]
    assert max(scores[k] for k in others) < min(scores[k] for k in chosen)


@pytest.mark.parametrize("sign", [1, -1], ids=["large", "small"])
@pytest.mark.parametrize("density", [0.1, 0.25, 0.5])
def test_paired_score_is_the_and_of_two_percentile_masks(sign, density):
    """Oracle: Zhou's own construction, the percentile searched so that the AND has the wanted count."""
    generator = torch.Generator().manual_seed(1)
    initial, final = torch.randn(40, 25, generator=generator), torch.randn(40, 25, generator=generator)
    function = score.large_initial_large_final if sign > 0 else score.small_initial_small_final
    mask = prune({"w": final}, function, density, scope=per_tensor, initial={"w": initial})
    kept = set(mask["w"].reshape(-1).nonzero().squeeze(1).tolist())
    by_initial = (sign * initial.abs()).reshape(-1).argsort(descending=True).tolist()
    by_final = (sign * final.abs()).reshape(-1).argsort(descending=True).tolist()
    both = [set(by_initial[:top]) & set(by_final[:top]) for top in range(1001)]
    below = max((pair for pair in both if len(pair) <= round(density * 1000)), key=len)
    above = min((pair for pair in both if len(pair) >= round(density * 1000)), key=len)
    assert below <= kept <= above
    assert len(above) - len(below) <= 2  # one more entry of each ranking can complete two pairs


@pytest.mark.parametrize("function", [getattr(score, name) for name in score.__all__], ids=score.__all__)
def test_every_score_keeps_the_contract(function):
    check_score(function)


def test_no_score_escapes_the_contract():
    """Every public function of these modules that takes weights first has a public name, and so is checked above."""
    modules = [importlib.import_module(f"prunus.score.{found.name}") for found in pkgutil.iter_modules(score.__path__)]
    functions = [value for one in modules for value in vars(one).values() if inspect.isfunction(value)]
    taking = {f.__name__ for f in functions if next(iter(inspect.signature(f).parameters), "") == "weights"}
    assert {name for name in taking if not name.startswith("_")} == set(score.__all__)


def test_chance_is_uniform_over_places():
    """Each of 100 entries is kept in about half of 400 draws: within 5 standard deviations."""
    generator = torch.Generator().manual_seed(0)
    weights = {"w": torch.ones(10, 10)}
    times = sum(prune(weights, score.chance, 0.5, generator=generator)["w"].int() for _ in range(400))
    assert (times - 200).abs().max() < 5 * math.sqrt(400 * 0.25)


def test_taylor_is_the_first_order_change_of_the_loss():
    """Oracle: finite difference of the loss when one weight is scaled towards zero."""
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    inputs = torch.randn(5, 4, generator=generator, dtype=torch.float64)

    def loss(w):
        return (inputs @ w.T).tanh().square().sum()

    (gradient,) = torch.autograd.grad(loss(weight), weight)
    scores = score.taylor({"w": weight.detach()}, gradients={"w": gradient})["w"]
    step = 1e-6
    for index in range(weight.numel()):
        moved = weight.detach().clone()
        moved.view(-1)[index] *= 1 - step
        change = abs(float(loss(moved) - loss(weight.detach()))) / step
        assert float(scores.view(-1)[index]) == pytest.approx(change, rel=1e-4, abs=1e-6)


def test_a_mask_from_any_score_is_a_mask():
    mask = prune(FINAL, score.magnitude, 0.5)
    assert isinstance(mask, Mask)
    assert mask.kept == 3
