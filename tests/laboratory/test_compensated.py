"""Pruning that moves what it keeps: least squares solved by hand, and training on from it."""

import pytest
import torch

from prunus.errors import PrunusError
from prunus.laboratory import Compensated, Drawn, Ended, Rewound, Trained
from prunus.mask import Mask
from prunus.settings import Settings

from .benches import PLAIN, Given, make, same

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def drawn():
    return make(Drawn(PLAIN, 0)).result


def test_what_is_kept_is_the_nearest_to_what_the_layers_gave(drawn) -> None:
    """Of 4,096 training rows at most; with 0.01 of the mean of its diagonal added to that of the gram."""
    done = make(Compensated(PLAIN, Given(drawn), 0.25))
    found, mask = done.result.weights, make(Ended(Given(done.result))).result
    split = PLAIN.read().train
    rows = split.normalise(split.inputs[:4096]).flatten(1).double()
    hidden = torch.relu(rows @ drawn.weights["1.weight"].double().T + drawn.weights["1.bias"])
    for name, inputs in (("1.weight", rows), ("3.weight", hidden)):
        gram = inputs.T @ inputs
        gram += 0.01 * gram.diagonal().mean() * torch.eye(len(gram))
        assert int(mask[name].sum()) == mask[name].numel() // 4
        for before, after, kept in zip(drawn.weights[name].double(), found[name], mask[name], strict=True):
            nearest = torch.linalg.solve(gram[kept][:, kept], (gram @ before)[kept])
            torch.testing.assert_close(after[kept].double(), nearest, rtol=1e-4, atol=1e-6)
            assert not after[~kept].any()
    assert not torch.equal(found["1.weight"][mask["1.weight"]], drawn.weights["1.weight"][mask["1.weight"]])
    assert same(found["1.bias"], drawn.weights["1.bias"])
    assert done.metrics == {"density": mask.density, "densities": {"1.weight": 0.25, "3.weight": 0.25}}


@pytest.mark.parametrize("method", ["l_obs", "obs", "woodfisher"])
def test_what_was_zero_goes_first(drawn, method) -> None:
    first = make(Compensated(PLAIN, Given(drawn), 0.5, method)).result
    second = Mask(make(Compensated(PLAIN, Given(first), 0.25, method)).result.extra["mask"])
    assert second.kept == 222  # of 888
    assert all(not (second[name] & ~kept).any() for name, kept in first.extra["mask"].items())


def test_the_scope_is_as_said(drawn) -> None:
    """Of 444 entries, 76 : 22 by the sums of the layers' inputs and outputs."""
    found = make(Compensated(PLAIN, Given(drawn), 0.5, scope="erk")).result.extra["mask"]
    assert {name: int(kept.sum()) for name, kept in found.items()} == {"1.weight": 344, "3.weight": 100}


def test_training_goes_on_from_it(drawn, tmp_path) -> None:
    moved = make(Compensated(PLAIN, Given(drawn), 0.25, "sparsegpt")).result
    mask = make(Ended(Given(moved))).result
    start = make(Rewound(Given(moved), Given(drawn))).result
    trained = make(Trained(PLAIN, Given(start), Settings(steps=5), 0, mask=Given(mask)), tmp_path).result
    assert trained.step == 5
    assert all(not trained.weights[name][~kept].any() for name, kept in mask.items())
    assert not same(trained.weights["1.weight"], moved.weights["1.weight"])


def test_of_no_such_method(drawn) -> None:
    with pytest.raises(PrunusError, match="unknown method 'lobs', did you mean 'l_obs'"):
        make(Compensated(PLAIN, Given(drawn), 0.5, "lobs"))
