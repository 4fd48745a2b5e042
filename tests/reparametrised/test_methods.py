"""Each method's forward, gradient and decisions, worked out with plain numbers."""

from itertools import pairwise
from math import erf, exp, log, pi, sqrt

import pytest
import torch
import torch.nn.functional as F
from numpy import euler_gamma
from scipy import integrate
from torch import Tensor, nn

from prunus import draws
from prunus.errors import PrunusError
from prunus.reparametrised import (
    DynamicPruning,
    HardConcrete,
    Method,
    Movement,
    Quantised,
    Reparametrisation,
    SoftMovement,
    SoftThreshold,
    Surgery,
    VariationalDropout,
)
from prunus.reparametrised.hard_concrete import chance_open, drawn, likely
from prunus.reparametrised.quantised import binary, uniform
from prunus.reparametrised.soft_threshold import shrunk
from prunus.reparametrised.variational import divergence

from .networks import single

INPUTS = torch.tensor([[1.0, 2.0, -1.0], [0.5, -1.0, 3.0]])
SHARES = torch.tensor([[1.0, -2.0], [0.5, 4.0]])  # the gradient of the loss in the outputs
VALUES = [[0.1, -0.9, 0.3], [-0.2, 0.8, 0.05]]
EFFECTIVE = SHARES.T @ INPUTS  # the gradient of sum(outputs * SHARES) in the weights that compute


def gradients(values: list[list[float]], method: Method, places: list[list[bool]] | None = None) -> dict[str, Tensor]:
    """Of weight and of what the method adds, for that loss; `places` are what a mask keeps."""
    learning, layer = single(values, method)
    if places is not None:
        learning.layers["weight"].places.copy_(torch.tensor(places))
    (layer(INPUTS) * SHARES).sum().backward()
    return {name.split(".")[-1]: p.grad for name, p in layer.named_parameters() if p.grad is not None}


PLACES = [[False, True, True], [False, True, False]]
KEPT = torch.tensor(PLACES)


@pytest.mark.parametrize("method", [DynamicPruning(0.5, end=2), Surgery(0.0, until=1)], ids=["dpf", "surgery"])
def test_masked_weights_get_the_gradient_of_the_masked_network(method: Method) -> None:
    assert torch.equal(gradients(VALUES, method, PLACES)["original"], EFFECTIVE)


def test_movement_scores_get_the_weight_times_its_gradient() -> None:
    found = gradients(VALUES, Movement(0.5, end=2), PLACES)
    assert torch.equal(found["original"], EFFECTIVE * KEPT)
    assert torch.equal(found["scores"], EFFECTIVE * torch.tensor(VALUES))  # pruned ones, too
    soft = gradients(VALUES, SoftMovement(0.0))
    assert torch.equal(soft["scores"], EFFECTIVE * torch.tensor(VALUES))


def test_dynamic_pruning_follows_the_cubic_and_lets_weights_return() -> None:
    learning, layer = single(VALUES, DynamicPruning(1 / 3, end=4, every=2))
    kept = []
    for step in range(1, 6):
        if step == 4:
            layer.parametrizations.weight.original.data[1, 2] = 2.0  # type: ignore[union-attr]
        learning.after_step(step)
        kept.append(learning.mask()["weight"].tolist())
    # step 2: 1/3 + 2/3 (1/2)^3 = 5/12, of 6 rounded half up: 3; step 4: 2
    assert kept[:1] == [[[True] * 3, [True] * 3]]
    assert kept[1] == kept[2] == [[False, True, True], [False, True, False]]
    assert kept[3] == kept[4] == [[False, True, False], [False, False, True]]


def test_surgery_cuts_and_splices_by_two_thresholds() -> None:
    sizes = [1.0, 2.0, 3.0, 4.0]  # mean 2.5, deviation sqrt(1.25)
    learning, layer = single([sizes], Surgery(0.5, until=3, gamma=0.0))
    threshold = 2.5 + 0.5 * sqrt(1.25)  # 3.059, so 2.753 and 3.365
    assert float(learning.layers["weight"].threshold) == pytest.approx(threshold)
    assert learning.mask()["weight"].tolist() == [[False, False, True, True]]
    trained = layer.parametrizations.weight.original  # type: ignore[union-attr]
    trained.data.copy_(torch.tensor([[-3.0, 3.4, 2.8, -2.7]]))  # between, above, between, below
    learning.after_step(1)
    assert learning.mask()["weight"].tolist() == [[False, True, True, False]]
    trained.data.copy_(torch.tensor([[9.0, 0.0, 9.0, 9.0]]))
    learning.after_step(3)  # too late
    assert learning.mask()["weight"].tolist() == [[False, True, True, False]]
    assert torch.equal(layer.weight, torch.tensor([[0.0, 0.0, 9.0, 0.0]]))


def test_surgery_decides_less_and_less_often() -> None:
    method = Surgery(0.0, until=1000, gamma=0.01, power=2.0, seed=5)
    learning, layer = single([[1.0, 3.0]], method)
    trained = layer.parametrizations.weight.original  # type: ignore[union-attr]
    decided = []
    for step in range(1, 301):
        trained.data.copy_(torch.tensor([[9.0, 0.0]] if learning.mask()["weight"][0, 1] else [[0.0, 9.0]]))
        before = learning.mask()
        learning.after_step(step)
        decided.append(learning.mask() != before)
    expected = [float(draws.uniform(5, step, (1,), 0, 1)) < (1 + 0.01 * step) ** -2 for step in range(1, 301)]
    assert decided == expected
    assert sum(decided[:100]) > 2 * sum(decided[200:]) > 0


def test_thresholds_of_named_tensors_are_their_own() -> None:
    model = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Linear(1, 4, bias=False))
    learning = Reparametrisation(model, Surgery(0.0, until=1, of_tensors=(("1.weight", -9.0),)))
    assert learning.mask().densities()["0.weight"] < 1
    assert learning.mask().densities()["1.weight"] == 1


def test_movement_keeps_the_best_scores() -> None:
    learning, _ = single(VALUES, Movement(0.5, end=4, begin=1, every=3))
    scores = torch.tensor([[0.5, -1.0, 0.0], [2.0, 0.1, -3.0]])
    learning.layers["weight"].scores.data.copy_(scores)
    for step, count in ((1, 6), (2, 6), (3, 3), (4, 3)):  # at 3: 1/2 + 1/2 / 27 of 6 is 3.1
        learning.after_step(step)
        assert learning.mask().kept == count
    assert learning.mask()["weight"].tolist() == [[True, False, False], [True, True, False]]


def test_soft_movement_keeps_what_is_above_the_threshold() -> None:
    learning, layer = single(VALUES, SoftMovement(0.25, threshold=0.2))
    learning.layers["weight"].scores.data.copy_(torch.tensor([[-1.3, -1.4, 0.0], [-2.0, 5.0, -1.38]]))
    assert learning.mask()["weight"].tolist() == [[True, False, True], [False, True, True]]  # log(1/4) is -1.386
    weights = torch.tensor(VALUES)
    assert torch.equal(layer.weight != 0, learning.mask()["weight"])
    assert torch.equal(layer.weight[0, 0], weights[0, 0])
    expected = 0.25 * sum(1 / (1 + exp(-score)) for score in (-1.3, -1.4, 0.0, -2.0, 5.0, -1.38))
    assert learning.penalty().item() == pytest.approx(expected)  # type: ignore[union-attr]


def test_soft_threshold_gradients_twice() -> None:
    """Reverse mode against finite differences, first and second order, away from the kinks."""
    layer = SoftThreshold(-1.0).layer("weight", torch.tensor(VALUES)).double()  # sigmoid(-1) is 0.269
    weight = torch.tensor(VALUES, dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)

    def squares(weight: Tensor, threshold: Tensor) -> Tensor:
        return shrunk(weight, threshold).square()

    assert torch.autograd.gradcheck(squares, (weight, threshold), atol=1e-9)
    assert torch.autograd.gradgradcheck(squares, (weight, threshold), atol=1e-9)
    value = layer(weight)
    assert value[0].tolist() == pytest.approx([0.0, -0.9 + 0.2689414213699951, 0.3 - 0.2689414213699951])
    value.sum().backward()
    # of w: 1 where kept; of s: - sum of signs of what is kept * sigmoid'(-1)
    assert weight.grad.tolist() == [[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]]  # type: ignore[union-attr]
    assert float(layer.threshold.grad) == pytest.approx(-(-1 + 1 + 1) * 0.19661193324148185)


def exact_divergence(log_alpha: float) -> float:
    """Of N(1, alpha) from the log-uniform prior, by quadrature: -log(alpha) / 2 + E log|x| + (euler + log 2) / 2."""
    spread = exp(log_alpha / 2)

    def integrand(x: float) -> float:
        return log(abs(x)) * exp(-0.5 * ((x - 1) / spread) ** 2) / (spread * sqrt(2 * pi)) if x else 0.0

    ends = [1 + deviations * spread for deviations in (-12, -3, 0, 3, 12)]
    edges = sorted([*ends, 0.0]) if ends[0] < 0 else ends  # log|x| is singular at 0
    mean = sum(integrate.quad(integrand, a, b, limit=200)[0] for a, b in pairwise(edges))
    return -log_alpha / 2 + mean + (euler_gamma + log(2)) / 2


def test_divergence_is_near_quadrature() -> None:
    at = [-9.0, -6.0, -3.5, -2.0, 0.0, 1.0, 3.0, 6.0]
    found = divergence(torch.tensor(at, dtype=torch.float64)).tolist()
    errors = [abs(one - exact_divergence(log_alpha)) for one, log_alpha in zip(found, at, strict=True)]
    assert max(errors) < 0.0094
    assert errors[at.index(-3.5)] > 0.0093  # the approximation is the paper's, and no better


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_local_reparametrisation_draws_from_the_posterior(kind: str) -> None:
    """Outputs have the mean and variance that drawing each weight would give, for every place."""
    torch.manual_seed(0)
    module = nn.Linear(5, 2) if kind == "linear" else nn.Conv2d(2, 2, 3, stride=2, padding=1, padding_mode="circular")
    inputs = torch.randn(1, 5) if kind == "linear" else torch.randn(1, 2, 4, 4)
    learning = Reparametrisation(module, VariationalDropout(1.0, log_variance=-1.0))
    layer = learning.layers["weight"]
    layer.log_variance.data.add_(torch.randn_like(layer.log_variance))
    drawn_outputs = torch.stack([learning.network(inputs) for _ in range(4000)]).double()
    variance = layer.log_variance.detach().exp()
    by_weights = []
    with torch.no_grad():
        for _ in range(4000):
            weight = module.weight + variance.sqrt() * torch.randn_like(module.weight)
            linear = isinstance(module, nn.Linear)
            by_weights.append(
                F.linear(inputs, weight, module.bias) if linear else module._conv_forward(inputs, weight, module.bias)
            )
    reference = torch.stack(by_weights).double()
    errors = (drawn_outputs.var(0) / 4000 + reference.var(0) / 4000).sqrt()
    assert ((drawn_outputs.mean(0) - reference.mean(0)).abs() < 5 * errors).all()
    assert torch.allclose(drawn_outputs.var(0), reference.var(0), rtol=5 * sqrt(4 / 4000))
    learning.network.eval()
    assert torch.equal(learning.network(inputs), learning.network(inputs))


def test_variational_dropout_prunes_where_the_noise_is_large() -> None:
    learning, layer = single([[1.0, -0.2, 0.01]], VariationalDropout(0.5, log_variance=-1.0))
    assert learning.mask()["weight"].tolist() == [[True, True, False]]  # log alpha -1, 2.2, 8
    alphas = [-1.0, -1.0 - 2 * torch.tensor(0.2).log().item(), 8.0]
    assert learning.penalty().item() == pytest.approx(0.5 * float(divergence(torch.tensor(alphas)).sum()), rel=1e-4)  # type: ignore[union-attr]
    assert layer.eval().weight.tolist() == [[1.0, pytest.approx(-0.2), 0.0]]


def test_what_is_pruned_stays_so_where_fewer_are_kept() -> None:
    learning, _ = single([[1.0, -0.2, 0.25, 0.01]], VariationalDropout(0.5, log_variance=-1.0))
    assert learning.mask()["weight"].tolist() == [[True, True, True, False]]  # log alpha -1, 2.2, 1.8, 8
    assert learning.mask(0.5)["weight"].tolist() == [[True, False, True, False]]
    cut, layer = single([[1.0, 2.0, 3.0, 4.0]], Surgery(0.5, until=3))
    layer.parametrizations.weight.original.data[0, 0] = 9.0  # type: ignore[union-attr]
    assert cut.mask(0.25)["weight"].tolist() == [[False, False, False, True]]


def test_variational_dropout_refuses_other_layers() -> None:
    with pytest.raises(PrunusError, match="for Linear and Conv2d, found Embedding"):
        Reparametrisation(nn.Embedding(3, 2), VariationalDropout(1.0))


@pytest.mark.parametrize("log_alpha", [-3.0, -0.7, 0.0, 2.0])
def test_hard_concrete_is_distributed_as_its_density_says(log_alpha: float) -> None:
    """Chances of 0 and of 1, and the mean gate, by quadrature of the binary concrete density (Maddison et al. 2017)."""
    beta, low, high = 2 / 3, -0.1, 1.1

    def density(s: float) -> float:
        odds = exp(log_alpha)
        top = beta * odds * s ** (-beta - 1) * (1 - s) ** (-beta - 1)
        return top / (odds * s**-beta + (1 - s) ** -beta) ** 2

    zero, one = -low / (high - low), (1 - low) / (high - low)
    below = integrate.quad(density, 1e-300, zero, epsabs=1e-12)[0]
    above = integrate.quad(density, one, 1, epsabs=1e-12)[0]
    between = integrate.quad(lambda s: density(s) * (s * (high - low) + low), zero, one, epsabs=1e-12)[0]
    at = torch.tensor(log_alpha, dtype=torch.float64)
    assert float(chance_open(at)) == pytest.approx(1 - below, abs=1e-9)
    # gates of evenly spaced noise are a quadrature, too
    count = 200_000
    gates = drawn(at, (torch.arange(count, dtype=torch.float64) + 0.5) / count)
    assert float((gates > 0).double().mean()) == pytest.approx(1 - below, abs=2 / count)
    assert float((gates == 1).double().mean()) == pytest.approx(above, abs=2 / count)
    assert float(gates.mean()) == pytest.approx(between + above, abs=1e-6)


def test_gates_of_groups_are_counted_with_all_their_weights() -> None:
    model = nn.Conv2d(3, 4, 2)
    expected = float(chance_open(torch.tensor(0.0)))
    for axis, gates in ((None, 48), (0, 4), (1, 3)):
        learning = Reparametrisation(model, HardConcrete(0.5, axis=axis))
        assert learning.layers["weight"].log_alpha.numel() == gates
        assert learning.penalty().item() == pytest.approx(0.5 * 48 * expected)  # type: ignore[union-attr]
    learning = Reparametrisation(model, HardConcrete(0.5, axis=1, of_tensors=(("weight", 2.0), ("other", 9.0))))
    assert learning.penalty().item() == pytest.approx(2.0 * 48 * expected)  # type: ignore[union-attr]
    learning = Reparametrisation(model, HardConcrete(0.5, axis=0))
    with torch.no_grad():
        learning.layers["weight"].log_alpha.copy_(torch.tensor([-2.4, -2.3, 0.0, 9.0]).reshape(4, 1, 1, 1))
    # sigmoid(-2.4) * 1.2 < 0.1 < sigmoid(-2.3) * 1.2
    assert learning.mask()["weight"].flatten(1).all(1).tolist() == [False, True, True, True]
    learning.bake(model)
    assert torch.equal(model.weight[3], learning.trained["weight"][3])
    assert torch.allclose(model.weight[2], 0.5 * learning.trained["weight"][2])


def test_expected_count_is_near_what_is_drawn() -> None:
    """Within five standard errors of 4000 draws of nine gates."""
    torch.manual_seed(1)
    log_alpha = torch.linspace(-4, 4, 9)
    chances = chance_open(log_alpha)
    opened = (drawn(log_alpha, torch.rand(4000, 9)) > 0).float().mean(0)
    assert ((opened - chances).abs() <= 5 * (chances * (1 - chances) / 4000).sqrt()).all()
    assert torch.equal(likely(torch.tensor([-9.0, 9.0])), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("method", [Quantised(scaled=False), Quantised(3, scaled=False)], ids=["binary", "3-bit"])
def test_rounding_has_the_gradient_of_its_surrogate(method: Quantised) -> None:
    """The clipped identity, whose finite differences are the gradient that passes through."""
    values = [[0.1, -1.5, 0.3], [-0.2, 2.0, 0.05]]
    found = gradients(values, method)["original"]
    weight, step = torch.tensor(values, dtype=torch.float64), 1e-6

    def surrogate(weight: Tensor) -> Tensor:
        return (INPUTS.double() @ weight.clamp(-1, 1).T * SHARES).sum()

    for place in range(6):
        there = torch.zeros(6, dtype=torch.float64)
        there[place] = step
        slope = (surrogate(weight + there.reshape(2, 3)) - surrogate(weight - there.reshape(2, 3))) / (2 * step)
        assert float(found.flatten()[place]) == pytest.approx(float(slope), abs=1e-6)


def test_levels_by_hand() -> None:
    weight = torch.tensor([-3.0, -0.3, 0.0, 0.2, 0.5])
    assert binary(weight).tolist() == [-1, -1, 1, 1, 1]
    assert binary(weight, scaled=True).tolist() == pytest.approx([-0.8, -0.8, 0.8, 0.8, 0.8])
    assert uniform(weight, 3).tolist() == [-1, -0.25, 0, 0.25, 0.5]
    assert uniform(weight, 2, scaled=True).tolist() == [-3, 0, 0, 0, 0]
    assert not uniform(torch.tensor([-0.01, 0.0]), 4, scaled=True).isnan().any()
    assert not uniform(torch.tensor([-0.01]), 2).signbit().any()
    assert uniform(torch.zeros(3), 4, scaled=True).tolist() == [0, 0, 0]


def test_trained_weights_are_held_within_one() -> None:
    learning, layer = single([[1.5, -7.0, 0.25]], Quantised(scaled=False))
    learning.after_step(1)
    assert layer.parametrizations.weight.original.tolist() == [[1.0, -1.0, 0.25]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: DynamicPruning(0.0, end=5),
        lambda: DynamicPruning(0.5, end=5, every=0),
        lambda: Movement(0.5, end=5, begin=5),
        lambda: Movement(0.5, end=5, every=0),
        lambda: Surgery(0.5, until=1, gamma=-1.0),
        lambda: SoftMovement(-1.0),
        lambda: SoftMovement(1.0, threshold=0.5),
        lambda: SoftThreshold(strength=float("inf")),
        lambda: VariationalDropout(1.0, threshold=9.0),
        lambda: HardConcrete(1.0, axis=2),
        lambda: HardConcrete(1.0, of_tensors=(("weight", -1.0),)),
        lambda: HardConcrete(1.0, chance=1.0),
        lambda: Quantised(0),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: object) -> None:
    with pytest.raises(PrunusError):
        wrong()  # type: ignore[operator]


def test_normal_weights_are_cut_as_the_half_normal_distribution_says() -> None:
    torch.manual_seed(2)
    weight = torch.randn(100, 400)
    layer = Surgery(1.0, until=1).layer("weight", weight)
    cut = 0.9 * (sqrt(2 / pi) + sqrt(1 - 2 / pi))
    assert float(layer.kept(weight).float().mean()) == pytest.approx(1 - erf(cut / sqrt(2)), abs=0.01)
