"""What oracles share: a check; networks, rows for them, and derivatives that the library has no part in."""

import itertools
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from prunus.tree import weights

DRAWS = 5
DOUBLE, SINGLE = torch.float64, torch.float32
Run = Callable[[int, torch.dtype], float]


@dataclass(frozen=True)
class Check:
    """`run` gives the error of the draw of a seed, with the library at work in a precision.

    Without a tolerance, the error is that of a published approximation, and only told.
    """

    what: str
    function: str
    oracle: str
    size: str
    run: Run
    tolerance: float | None
    single: float | None = None
    draws: int = DRAWS

    def error(self, dtype: torch.dtype) -> float:
        return max(self.run(seed, dtype) for seed in range(self.draws))


def perceptron(seed: int, dtype: torch.dtype, *sizes: int, bias: bool = True, activation=nn.Tanh) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [part for pair in itertools.pairwise(sizes) for part in (nn.Linear(*pair, bias=bias), activation())]
    return nn.Sequential(*layers[:-1]).to(dtype)


def rows_of(seed: int, dtype: torch.dtype, *shape: int, classes: int = 3, count: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=generator, dtype=DOUBLE).to(dtype), torch.arange(count) % classes


def squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - torch.eye(outputs.shape[1], dtype=outputs.dtype)[labels]).square().sum(1).mean()


def batches(rows: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Of unequal sizes."""
    return list(zip(rows[0].split(4), rows[1].split(4), strict=True))


def flat(tree: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tree.values()])


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, in parts of the largest entry expected."""
    return float((found.detach().double() - expected).abs().max() / expected.abs().max())


def loss_of(
    network: nn.Module, rows: tuple[Tensor, Tensor], loss: Callable = F.cross_entropy
) -> tuple[Callable, Tensor]:
    """The loss as a function of all weights in one vector, in double precision, and that vector."""
    twin = deepcopy(network).double().eval().requires_grad_(False)
    own = {name: weight.detach() for name, weight in weights(twin).items()}

    def of(vector: Tensor) -> Tensor:
        parts = vector.split([weight.numel() for weight in own.values()])
        values = {name: part.reshape(own[name].shape) for name, part in zip(own, parts, strict=True)}
        return loss(functional_call(twin, values, (rows[0].double(),)), rows[1])

    return of, flat(own)


def hessian_of(network: nn.Module, rows: tuple[Tensor, Tensor], loss: Callable = F.cross_entropy) -> Tensor:
    return torch.func.hessian(loss_of(network, rows, loss)[0])(loss_of(network, rows, loss)[1])
