"""From a target to the subnetwork of a random network that computes the same."""

import math
import time
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import BoolTensor, Tensor, nn

from prunus.construction.choice import Choice, Factors, nearest_subset
from prunus.construction.diamond import diamond
from prunus.construction.golden import golden_series
from prunus.construction.layer import Layer, Structure
from prunus.construction.linear import linear
from prunus.construction.parts import RandomNetwork
from prunus.construction.reading import read_chain
from prunus.construction.result import Construction, Step
from prunus.construction.sampling import Distribution, Source
from prunus.distribution import Hyperbolic, Uniform
from prunus.errors import PrunusError
from prunus.mask import Mask


@torch.no_grad()
def approximate(
    target: nn.Module,
    items: int,
    epsilon: float,
    *,
    seed: int = 0,
    structure: Structure = linear,
    choose: Choice = nearest_subset,
    weights: Distribution | None = None,
    input_shape: tuple[int, ...] | None = None,
) -> Construction:
    """Draw a network from `seed` and find in it, by pruning alone, one that computes what `target` does.

    Every weight of the target is approximated by some of `items` random ones, within `epsilon` if they allow.
    `structure` says where these are: `linear` (a random weight for every copy of an input), `linear_by_row`, or
    `diamond` (two random layers with a ReLU between). `choose` says which of them stay: `nearest_subset`,
    `smallest_subset`, `nearest_weight`, `golden_series`, or a function of yours. `weights` says how they are drawn, if
    not as usual: uniformly between the smallest and the largest weight of the target (as in the experiment of Pensia et
    al. 2020), on [-1, 1] for diamonds (as in their theorem), hyperbolically for golden series.

    Idea: of the very many subsets of some tens of random numbers, one sums up to nearly any weight; so a random network
    of twice as many layers, wider by a factor of log(1 / `epsilon`), has a subnetwork that computes nearly the same.
    Formula: for each weight w, a subset S of `items` random a_i with |w - sum over S of a_i| <= `epsilon`; in diamonds
    a_i = u_i v_i, as w x = sum over S of v_i max(0, u_i x), those with u_i > 0 for x > 0 and with u_i < 0 for x < 0.
    Source: Pensia et al. 2020, "Optimal lottery tickets via subset sum: logarithmic over-parameterization is
    sufficient"; with `nearest_weight`, Malach et al. 2020, "Proving the lottery ticket hypothesis: pruning is all you
    need"; with `golden_series`, Orseau, Hutter & Rivasplata 2020, "Logarithmic pruning is all you need".
    Use: to see what the theorems say of a network of yours, with the bound beside the error (`prunus approximate`).
    Cost: a search among the subsets of `items` numbers for each weight.
    Differs: the authors' experiment draws one set of numbers for all weights of an output: that is `linear_by_row`.

    `target` is a chain of Linear, Conv2d, ReLU, MaxPool2d and Flatten, whether module or function, with biases or
    without; it stays as it is. `input_shape`, of one input, is needed for the bound of convolutions with biases. Raises
    `PrunusError` for any other target, with the operator's name.

    >>> target = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> found = approximate(target, 16, 0.01, structure=diamond)
    >>> found.network
    RandomNetwork(
      (0): One()
      (1): Linear(in_features=5, out_features=80, bias=False)
      (2): ReLU()
      (3): Linear(in_features=80, out_features=3, bias=False)
      (4): ReLU()
      (5): One()
      (6): Linear(in_features=4, out_features=64, bias=False)
      (7): ReLU()
      (8): Linear(in_features=64, out_features=2, bias=False)
    )
    >>> x = torch.rand(5, 4) / 2
    >>> bool((found.error(x) <= found.bound).all())
    True
    """
    if items < 1:
        raise PrunusError(f"items: found {items}, expected at least one random weight for each of the target.")
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise PrunusError(f"epsilon: found {epsilon:g}, expected a number above 0.")
    chain = read_chain(target)
    layers = {module: _read(module) for module in chain if isinstance(module, nn.Linear | nn.Conv2d)}
    distribution = weights or _usual(structure, choose, list(layers.values()), epsilon)
    source = Source(distribution, seed)
    pick = _Timed(choose, epsilon)
    modules: list[nn.Module] = []
    kept: dict[str, Tensor] = {}
    steps: list[Step] = []
    nonnegative = False
    for module in chain:
        if not isinstance(module, nn.Linear | nn.Conv2d):
            nonnegative |= isinstance(module, nn.ReLU)
            modules.append(module)
            steps.append(module)
            continue
        found = structure(layers[module], items, nonnegative, source.draw, pick)
        masks = iter(found.kept)
        for made in found.modules:
            if isinstance(made, nn.Linear | nn.Conv2d):
                kept[f"{len(modules)}.weight"] = next(masks).reshape(made.weight.shape)
            modules.append(made)
        steps.append((layers[module], found))
        nonnegative = False
    network = RandomNetwork(*modules).eval()
    return Construction(
        target=deepcopy(nn.Sequential(*chain)).eval(),
        network=network,
        mask=Mask(kept),
        steps=tuple(steps),
        epsilon=epsilon,
        structure=structure.__name__,
        items=items,
        seed=seed,
        weights=distribution,
        solve_seconds=pick.seconds,
        input_shape=input_shape,
    )


class _Timed:
    """A choice with its epsilon, and the seconds that it took once its code was there."""

    def __init__(self, choose: Choice, epsilon: float) -> None:
        self.choose, self.epsilon, self.seconds = choose, epsilon, 0.0

    def __call__(self, targets: Tensor, factors: Factors) -> BoolTensor:
        easy_and_impossible = torch.tensor([0.0, 1e9]).to(targets)  # two targets that take all ways through the code
        self.choose(easy_and_impossible, tuple(factor[:1].expand(2, -1) for factor in factors), self.epsilon)
        started = time.perf_counter()
        kept = self.choose(targets, factors, self.epsilon)
        self.seconds += time.perf_counter() - started
        return kept


def _read(module: nn.Linear | nn.Conv2d) -> Layer:
    layer = Layer.of(module)
    if not layer.kernel.isfinite().all():
        raise PrunusError(f"a weight of {module} is NaN or infinite.")
    return layer


def _usual(structure: Structure, choose: Choice, layers: Sequence[Layer], epsilon: float) -> Distribution:
    values = torch.cat([layer.kernel[layer.places] for layer in layers])
    if choose is golden_series:
        largest = float(values.abs().max())
        high = max(1.0, math.sqrt(largest)) if structure is diamond else largest
        return Hyperbolic(high, max(math.ceil(math.log2(high / epsilon)), 0) + 1)
    return Uniform(-1.0, 1.0) if structure is diamond else Uniform(float(values.min()), float(values.max()))
