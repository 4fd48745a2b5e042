"""`check_score`: what `prune` relies on in a score."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from prunus.tree import Tree, detached


def check_score(score: Callable[..., Tree], **evidence: Any) -> None:
    """Run `score` on matrices, convolutions, half precision, channels-last, constant and empty tensors.

    It must return finite-or-infinite (never NaN) scores under the weights' names and shapes, leave its inputs alone,
    give the same answer twice, and not depend on memory layout. What `prunus.measures` measures, `initial`, `momenta`,
    `variances` and `generator` are provided, as a network may give them; any other evidence that the score needs is
    passed in `evidence`, fit for weights of the names and shapes in `prunus.testing.score.examples()`.
    """
    for title, weights in examples().items():
        provided = _evidence(weights) | evidence
        wanted = {name: provided[name] for name in _needs(score, provided)}
        before = detached(weights)
        first = score(weights, **wanted)
        again = score(weights, **{name: (_evidence(weights) | evidence)[name] for name in wanted})
        _check_shapes(title, weights, first)
        for name, weight in weights.items():
            assert not first[name].isnan().any(), f"{title}: the score of {name} holds NaN"
            assert torch.equal(first[name], again[name]), f"{title}: two calls differ at {name}"
            assert torch.equal(weight, before[name]), f"{title}: the score changed the weights of {name}"
            assert not first[name].requires_grad, f"{title}: the score of {name} carries a gradient"
    layouts = examples()
    rows = score(layouts["convolution"], **_chosen(score, layouts["convolution"], evidence))
    last = score(layouts["channels last"], **_chosen(score, layouts["channels last"], evidence))
    for name in rows:
        assert torch.equal(rows[name], last[name]), f"the score of {name} depends on the memory layout"


def examples() -> dict[str, dict[str, Tensor]]:
    """Weights that scores are checked on: {title: {name: tensor}}."""
    matrix = torch.linspace(-1, 1, 12).reshape(3, 4)
    filters = torch.linspace(-2, 2, 54).reshape(3, 2, 3, 3)
    return {
        "matrices": {"first.weight": matrix, "second.weight": matrix.flip(0).clone()},
        "half precision": {"weight": matrix.bfloat16()},
        "convolution": {"weight": filters},
        "channels last": {"weight": filters.contiguous(memory_format=torch.channels_last)},
        "equal weights": {"weight": torch.full((4, 4), 0.5)},
        "all zero": {"weight": torch.zeros(2, 3)},
        "empty": {"weight": torch.zeros(0, 3)},
    }


def _evidence(weights: Tree) -> dict[str, Any]:
    return {
        "initial": {name: (w * 0.5).flip(0) for name, w in weights.items()},
        "gradients": {name: w.flip(-1) - 0.25 for name, w in weights.items()},
        "momenta": {name: w.flip(-1) + 0.5 for name, w in weights.items()},
        "hessian_gradients": {name: 0.125 - w.flip(-1) for name, w in weights.items()},
        "flows": {name: w.flip(-1).double().square() for name, w in weights.items()},
        "variances": {name: torch.arange(w.shape[1]) / 4 for name, w in weights.items()},
        "squared_gradients": {name: (w.flip(-1) - 0.25).square() for name, w in weights.items()},
        "hessian_diagonals": {name: w.flip(-1) + 0.75 for name, w in weights.items()},
        "input_norms": {
            name: torch.linspace(0, 2, w.shape[1:].numel()).reshape(1, *w.shape[1:]) for name, w in weights.items()
        },
        "generator": torch.Generator().manual_seed(0),
    }


def _needs(score: Callable[..., Tree], provided: dict[str, Any]) -> list[str]:
    first, *others = inspect.signature(score).parameters.values()
    assert first.name == "weights", f"a score takes `weights` first, found `{first.name}`"
    for parameter in others:
        known = parameter.name in provided or parameter.default is not parameter.empty
        assert known, f"pass {parameter.name}=... to check_score: the score needs it"
    return [parameter.name for parameter in others if parameter.name in provided]


def _chosen(score: Callable[..., Tree], weights: Tree, evidence: dict[str, Any]) -> dict[str, Any]:
    provided = _evidence(weights) | evidence
    return {name: provided[name] for name in _needs(score, provided)}


def _check_shapes(title: str, weights: Tree, scores: Tree) -> None:
    assert list(scores) == list(weights), f"{title}: scores for {list(scores)}, weights are {list(weights)}"
    for name, weight in weights.items():
        assert scores[name].shape == weight.shape, (
            f"{title}: the score of {name} has shape {tuple(scores[name].shape)}, not {tuple(weight.shape)}"
        )
