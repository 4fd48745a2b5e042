"""Pieces that remove channels, against the functions they stand for and masks by hand."""

from copy import deepcopy

import pytest
import torch

from prunus.evidence import gradients
from prunus.laboratory import Drawn, Lassoed, Narrowed, Selected, Task, size
from prunus.mask import Mask
from prunus.pattern import channel
from prunus.pruning import prune
from prunus.score import relevance
from prunus.settings import Settings

from .benches import Given, largest, make, network, same

pytestmark = pytest.mark.usefixtures("one_thread")
TASK = Task.of("lenet-300-100", "digits")
RESIDUAL = Task.of("resnet-20", "digits")


@pytest.fixture(scope="module")
def drawn():
    return make(Drawn(TASK, 0)).result


def widths(found):
    return {name: tuple(weight.shape) for name, weight in found.weights.items() if weight.ndim == 2}


def test_a_part_of_the_units_of_every_layer(drawn):
    """The rows with the largest sums, and what reads them."""
    outcome = make(Narrowed(TASK, Given(drawn), 0.25))
    assert widths(outcome.result) == {"fc1.weight": (75, 64), "fc2.weight": (25, 75), "fc3.weight": (10, 25)}
    first, second = drawn.weights["fc1.weight"], drawn.weights["fc2.weight"]
    kept = sorted(largest(first.abs().sum(1).tolist(), 75))
    rows = sorted(largest(second.abs().sum(1).tolist(), 25))
    assert torch.equal(outcome.result.weights["fc1.weight"], first[kept])
    assert torch.equal(outcome.result.weights["fc2.weight"], second[rows][:, kept])
    assert outcome.metrics["parameters_before"] == 50610
    assert outcome.metrics["parameters"] == size(TASK, outcome.result).parameters
    assert 0 <= outcome.metrics["difference"] < 1e-5


def test_by_relevance_on_the_data(drawn):
    outcome = make(Narrowed(TASK, Given(drawn), 0.5, score="relevance", pattern="channel(1)", scope="network"))
    model = network(TASK, drawn)
    found = gradients(model, TASK.read().train.batches(256, most=16))
    own = {name: w.detach() for name, w in model.named_parameters() if name in ("fc2.weight", "fc3.weight")}
    mask = prune(own, relevance, 0.5, pattern=channel(1), gradients={name: found[name] for name in own})
    first, second = (int(mask[name].any(0).sum()) for name in own)
    expected = {"fc1.weight": (first, 64), "fc2.weight": (second, first), "fc3.weight": (10, second)}
    assert widths(outcome.result) == expected


def test_any_score_that_measures(drawn):
    outcome = make(Narrowed(TASK, Given(drawn), 0.5, score="wanda"))
    assert widths(outcome.result) == {"fc1.weight": (150, 64), "fc2.weight": (50, 150), "fc3.weight": (10, 50)}


def test_selected_layers_give_nearly_what_they_gave(drawn):
    """Less of the layers' outputs is lost than where the smallest units go."""
    outcome = make(Selected(TASK, Given(drawn), 0.5, rows=500))
    assert widths(outcome.result) == {"fc1.weight": (150, 64), "fc2.weight": (50, 150), "fc3.weight": (10, 50)}
    assert set(outcome.metrics["errors"]) == {"fc2.weight", "fc3.weight"}
    x = TASK.read().validation.inputs[:200].float() / 16
    with torch.no_grad():
        expected = network(TASK, drawn)(x)
        lost = {}
        for title, found in (("fitted", outcome), ("smallest", make(Narrowed(TASK, Given(drawn), 0.5)))):
            small = TASK.network_like(found.result)
            found.result.restore_weights(small)
            lost[title] = float((small(x) - expected).square().mean())
    assert lost["fitted"] < lost["smallest"] / 4


def test_a_lasso_empties_units_and_they_are_removed(drawn, tmp_path):
    settings = Settings(steps=60, batch=100, optimizer="sgd", learning_rate=0.1, momentum=0.0)
    start = deepcopy(drawn)
    for name in ("fc1.weight", "fc2.weight"):  # units of all sizes
        start.weights[name] *= torch.linspace(0.1, 1.2, len(start.weights[name]))[:, None]
    first_folder, second_folder = tmp_path / "first", tmp_path / "second"
    first_folder.mkdir()
    second_folder.mkdir()
    trained = make(Lassoed(TASK, Given(start), settings, 0, 0.05), first_folder)
    rows = {name: trained.result.weights[name].any(1) for name in ("fc1.weight", "fc2.weight", "fc3.weight")}
    first, second, last = (int(alive.sum()) for alive in rows.values())
    assert 0 < first < 300
    assert 0 < second < 100
    assert last == 10
    assert trained.metrics["density"] == Mask({name: trained.result.weights[name] != 0 for name in rows}).density
    small = make(Narrowed(TASK, Given(trained.result)))
    assert widths(small.result)["fc1.weight"][0] <= first
    again = make(Lassoed(TASK, Given(start), settings, 0, 0.05), second_folder)
    assert same(again.result, trained.result)


@pytest.fixture(scope="module")
def residual():
    return make(Drawn(RESIDUAL, 0)).result


def test_inside_of_blocks_alone(residual):
    """Li's, for residual networks: half of the filters of the first layers of blocks, and what reads them."""
    found = make(Narrowed(RESIDUAL, Given(residual), 0.5, alone=True))
    for name, weight in residual.weights.items():
        if weight.ndim != 4:
            continue
        part = found.result.weights[name]
        if name.endswith(".conv1.weight"):
            kept = sorted(largest(weight.abs().sum((1, 2, 3)).tolist(), len(weight) // 2))
            assert torch.equal(part, weight[kept])
            assert torch.equal(
                found.result.weights[name.replace("conv1", "conv2")],
                residual.weights[name.replace("conv1", "conv2")][:, kept],
            )
        elif name == "conv1.weight":
            assert torch.equal(part, weight)
    assert found.metrics["difference"] < 1e-5
    chosen = make(Selected(RESIDUAL, Given(residual), 0.5, rows=256)).result
    assert {n: w.shape for n, w in chosen.weights.items()} == {n: w.shape for n, w in found.result.weights.items()}


def test_a_lasso_inside_of_blocks_alone(residual, tmp_path):
    """One step that would empty any group."""
    settings = Settings(steps=1, batch=50, optimizer="sgd", learning_rate=0.1)
    found = make(Lassoed(RESIDUAL, Given(residual), settings, 0, 1e3, alone=True), tmp_path).result.weights
    empty = {name for name, weight in found.items() if weight.ndim == 4 and not weight.any()}
    assert empty == {name for name in found if name.endswith(".conv1.weight")}
