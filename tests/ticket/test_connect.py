"""The straight line between two networks, on networks whose errors along it are known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from prunus.data import Split
from prunus.errors import DivergedError, PrunusError
from prunus.evaluation import evaluate
from prunus.snapshot import Snapshot
from prunus.ticket.connect import Path, connect, interpolated

DIGITS = torch.arange(10)
"""Ten inputs, the numbers 0 to 9."""


def numbers(labels: Tensor) -> Split:
    """The numbers 0 to 9 as images of one pixel."""
    return Split(DIGITS.to(torch.uint8).reshape(10, 1, 1, 1), labels.long(), torch.zeros(1), torch.ones(1))


class Threshold(nn.Module):
    """Answers 1 for numbers above its one parameter, else 0."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(at))

    def forward(self, inputs: Tensor) -> Tensor:
        above = inputs.flatten(1) - self.at  # (B, 1)
        return torch.cat([-above, above], 1)


class Squares(nn.Module):
    """Answers 1 where the square of weight * input is above its running mean."""

    def __init__(self, weight: float = 1.0, **options: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))
        self.norm = nn.BatchNorm1d(1, affine=False, **options)

    def forward(self, inputs: Tensor) -> Tensor:
        normal = self.norm((self.weight * inputs.flatten(1)).square())
        return torch.cat([-normal, normal], 1)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def bits(tensor: Tensor) -> list[int]:
    return tensor.reshape(-1).view(torch.uint8).tolist()


def test_a_threshold_that_moves_gets_one_more_number_wrong_at_every_point() -> None:
    path = connect(
        Threshold(0.0),
        {"at": torch.tensor(4.25)},
        {"at": torch.tensor(9.25)},
        {"rising": numbers(DIGITS > 4), "falling": numbers(DIGITS < 5)},
        points=6,
    )
    assert path.parts == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert path.errors == {"rising": (0, 10, 20, 30, 40, 50), "falling": (100, 90, 80, 70, 60, 50)}
    assert path.distance == 5.0
    assert path.barrier("rising") == path.barrier("falling") == 25.0


def test_a_hill_and_a_valley() -> None:
    """All answers 1 at one end and 0 at the other, in between all wrong on one split and all right on the other."""
    splits = {"hill": numbers(DIGITS < 5), "valley": numbers(DIGITS > 4)}
    path = connect(Threshold(0.0), {"at": torch.tensor(-0.75)}, {"at": torch.tensor(9.25)}, splits, points=11)
    for name, split in splits.items():
        thresholds = [-0.75 + number for number in range(11)]
        wrong = [sum(int(x > at) != int(y) for x, y in enumerate(split.labels)) for at in thresholds]
        assert path.errors[name] == tuple(10.0 * count for count in wrong)
    assert path.barrier("hill") == 50.0
    assert path.barrier("valley") == 0.0


def test_thirty_points_with_both_ends() -> None:
    seen = []
    path = connect(
        Threshold(0.0),
        {"at": torch.tensor(0.0)},
        {"at": torch.tensor(1.0)},
        {"all": numbers(DIGITS > 4)},
        progress=lambda title, done, total, note: seen.append((done, total)),
    )
    assert path.parts == tuple(k / 29 for k in range(30))
    assert len(path.errors["all"]) == 30
    assert seen == [(k, 30) for k in range(1, 31)]


def test_no_barrier_to_itself() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 7), nn.ReLU(), nn.Linear(7, 2))
    path = connect(model, state(model), state(model), {"all": numbers(DIGITS > 4)}, points=7)
    assert set(path.errors["all"]) == {evaluate(model, numbers(DIGITS > 4)).error}
    assert path.barrier("all") == 0.0
    assert path.distance == 0.0


def test_swapped_hidden_units_are_the_same_function_behind_a_barrier() -> None:
    """Half way, both hidden units have no input weight left, and every answer is 0."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2, bias=False))
    one = {
        "1.weight": torch.tensor([[1.0], [-1.0]]),
        "1.bias": torch.tensor([-4.5, 4.5]),
        "3.weight": torch.tensor([[-1.0, 1.0], [1.0, -1.0]]),
    }
    other = {"1.weight": one["1.weight"].flip(0), "1.bias": one["1.bias"].flip(0), "3.weight": one["3.weight"].flip(1)}
    path = connect(model, one, other, {"all": numbers(DIGITS > 4)}, points=3)
    assert path.errors["all"] == (0.0, 50.0, 0.0)
    assert path.barrier("all") == 50.0
    assert path.distance == pytest.approx(math.sqrt(2 * 2**2 + 2 * 9**2 + 4 * 2**2))


def test_barrier_by_hand() -> None:
    path = Path((0.0, 0.5, 1.0), {"train": (1.0, 0.25, 2.0), "test": (3.0, 20.0, 5.0)}, 0.0)
    assert path.barrier("test") == 16.0
    assert path.barrier("train") == 0.5  # the worse end, less the mean of both


def test_barrier_of_an_unknown_split() -> None:
    with pytest.raises(PrunusError, match="unknown split 'tests', did you mean 'test'"):
        Path((0.0, 1.0), {"test": (0.0, 0.0)}, 0.0).barrier("tests")


def test_batchnorm_statistics_are_taken_anew_at_every_point() -> None:
    """The mean square grows with the square of the weight; half way, the mean of the ends' would be too large."""
    split = numbers(DIGITS > 5)  # the mean of all squares is 28.5
    inputs = [split.normalise(split.inputs)]
    first, second = Squares(1.0), Squares(5.0)
    for end in (first, second):
        end.norm.running_mean.fill_(28.5 * end.weight.item() ** 2)
        assert evaluate(end, split).error == 0.0
    model = Squares()
    model.load_state_dict(interpolated(state(first), state(second), 0.5))
    assert evaluate(model, split).error == 10.0  # 6 is taken to be small: 9 * 36 < 13 * 28.5
    path = connect(model, state(first), state(second), {"all": split}, points=5, recalibrate=inputs)
    assert path.errors["all"] == (0.0,) * 5
    assert path.distance == 4.0  # that of the weights, whatever the statistics


def test_batchnorm_statistics_of_the_ends_are_taken_anew_too() -> None:
    split = numbers(DIGITS > 5)
    stale = Squares(1.0)
    stale.norm.running_mean.fill_(1000.0)
    assert evaluate(stale, split).error == 40.0
    path = connect(
        stale, state(stale), state(stale), {"all": split}, points=2, recalibrate=[split.normalise(split.inputs)]
    )
    assert path.errors["all"] == (0.0, 0.0)


def test_batchnorm_needs_batches_that_last() -> None:
    model, splits = Squares(), {"all": numbers(DIGITS > 5)}
    with pytest.raises(PrunusError, match=r"layer 'norm' keeps BatchNorm statistics: pass recalibrate=\[inputs"):
        connect(model, state(model), state(model), splits)
    batches = (split.normalise(split.inputs) for split in splits.values())
    with pytest.raises(PrunusError, match="recalibrate is an iterator"):
        connect(model, state(model), state(model), splits, recalibrate=batches)


def test_batchnorm_without_statistics_needs_no_batches() -> None:
    model = Squares(track_running_stats=False)
    assert connect(model, state(model), state(model), {"all": numbers(DIGITS > 5)}, points=2).errors == {"all": (0, 0)}


@pytest.mark.parametrize("good", [True, False], ids=["after the path", "after an error"])
def test_the_model_is_as_it_was(good: bool) -> None:
    model, split = Squares(2.0), numbers(DIGITS > 5)
    model.register_buffer("unsaved", torch.tensor(7.0), persistent=False)
    model(split.normalise(split.inputs))
    model.norm.eval()
    before, modes = state(model), [module.training for module in model.modules()]
    inputs = [split.normalise(split.inputs)]
    if good:
        connect(model, state(Squares(1.0)), state(Squares(3.0)), {"all": split}, points=3, recalibrate=inputs)
    else:
        with pytest.raises(DivergedError, match="parameter 'weight' holds NaN or infinity"):
            connect(model, state(Squares(1.0)), state(Squares(math.inf)), {"a": split}, points=3, recalibrate=inputs)
    after = state(model)
    assert all(bits(after[name]) == bits(value) for name, value in before.items())
    assert model.unsaved == 7.0
    assert [module.training for module in model.modules()] == modes
    assert model.weight.grad is None
    assert model.weight.requires_grad


def test_an_end_may_be_the_live_state_of_the_model() -> None:
    model, split = Threshold(4.25), numbers(DIGITS > 4)
    path = connect(model, model.state_dict(), {"at": torch.tensor(9.25)}, {"all": split}, points=6)
    assert path.errors["all"] == (0, 10, 20, 30, 40, 50)


class Tied(nn.Module):
    """Two names for one matrix, and a buffer that no file has."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(1, 2)
        self.outer = nn.Linear(1, 2)
        self.outer.weight = self.inner.weight
        self.register_buffer("unsaved", torch.ones(1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.unsaved * (self.inner(inputs.flatten(1)) + self.outer(inputs.flatten(1)))


def test_ends_as_state_dicts_and_as_snapshots_of_a_tied_network() -> None:
    torch.manual_seed(0)
    models, split = [Tied(), Tied()], {"all": numbers(DIGITS > 4)}
    snapshots = [Snapshot.take(model) for model in models]
    named = [snapshot.weights | snapshot.buffers for snapshot in snapshots]
    assert state(models[0]).keys() != named[0].keys()
    path = connect(Tied(), state(models[0]), state(models[1]), split)
    assert path == connect(Tied(), *named, split)
    assert path == connect(nn.DataParallel(Tied()), *named, split)
    once = torch.cat([(named[0][n] - named[1][n]).reshape(-1) for n in ("inner.weight", "inner.bias", "outer.bias")])
    assert path.distance == pytest.approx(once.norm().item())


@pytest.mark.parametrize(
    ("end", "points", "message"),
    [
        ({}, 3, "names do not fit: missing at"),
        ({"at": torch.tensor(0.0), "gone": torch.tensor(0.0)}, 3, "unexpected gone"),
        ({"at": torch.zeros(2)}, 3, r"at: shape \(2,\) != \(\)"),
        ({"at": torch.tensor(0.0, dtype=torch.float64)}, 3, r"at: torch\.float32 != torch\.float64"),
        ({"at": torch.tensor(0.0)}, 1, "a path has two points at least, found 1"),
    ],
)
def test_ends_that_do_not_fit(end: dict[str, Tensor], points: int, message: str) -> None:
    with pytest.raises(PrunusError, match=message):
        connect(Threshold(0.0), {"at": torch.tensor(0.0)}, end, {"all": numbers(DIGITS > 4)}, points=points)


def test_at_the_ends_bits_are_copied() -> None:
    first = {"w": torch.tensor([-0.0, 1.0, math.nan]), "count": torch.tensor(3)}
    second = {"w": torch.tensor([math.inf, -0.0, 1e-45]), "count": torch.tensor(8)}
    for part, end in ((0.0, first), (1.0, second)):
        found = interpolated(first, second, part)
        assert all(bits(found[name]) == bits(end[name]) for name in end)
        assert all(found[name].data_ptr() != end[name].data_ptr() for name in end)


@pytest.mark.parametrize(("part", "count"), [(0.0, 3), (0.49, 3), (0.5, 3), (0.51, 8), (1.0, 8)])
def test_integers_are_those_of_the_nearer_end(part: float, count: int) -> None:
    found = interpolated({"count": torch.tensor(3)}, {"count": torch.tensor(8)}, part)["count"]
    assert found.item() == count
    assert found.dtype == torch.int64


FLOATS = st.floats(-1e6, 1e6, width=32)


@given(st.floats(0, 1), st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=20))
def test_a_weighted_mean_of_the_ends(part: float, pairs: list[tuple[float, float]]) -> None:
    """Oracle: the formula in float64."""
    first, second = (torch.tensor(end, dtype=torch.float32) for end in zip(*pairs, strict=True))
    found = interpolated({"w": first}, {"w": second}, part)["w"].double()
    expected = (1 - part) * first.double() + part * second.double()
    assert bool(((found - expected).abs() <= 3e-7 * (first.abs() + second.abs()) + 1e-44).all())
    assert torch.equal(interpolated({"w": first}, {"w": first}, part)["w"], first)


@pytest.mark.parametrize("part", [-0.1, 1.1, math.nan])
def test_a_part_of_the_way(part: float) -> None:
    with pytest.raises(PrunusError, match="of the way is outside"):
        interpolated({}, {}, part)
