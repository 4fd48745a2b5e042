"""Rounds of pruning and rewinding, against rankings by hand and a start whose bits are known."""

from fractions import Fraction
from itertools import pairwise
from math import floor

import pytest
import torch
from torch import Tensor, nn

from prunus import hold_sparse, models, scope, score, sparsify
from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.mask import Mask
from prunus.pattern import block, channel
from prunus.snapshot import Snapshot
from prunus.sparse import SparseLinear
from prunus.ticket import Ticket, find, fine_tuning, learning_rate, to_start

STEPS = 3
KEEPS = {"3.weight": 0.75}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=0.05, weight_decay=0.01)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, first: int) -> None:
    """Train on the batches from `first` on."""
    for number in range(first, first + STEPS):
        inputs = torch.randn(5, 6, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()


def early() -> Snapshot:
    """A moment after some steps, so that Adam's moments and BatchNorm's averages are not those of a new network."""
    model = network()
    optimizer = adam(model)
    steps(model, optimizer, 0)
    extra = {"schedule": {"rates": [0.5, 0.25], "last": torch.tensor(7)}}
    return Snapshot.take(model, optimizer, step=STEPS, order={"seed": 3, "epoch": 1}, extra=extra)


def careful(start: Snapshot, mask: Mask) -> Snapshot:
    """A network and an optimizer of its own each time."""
    model = network()
    optimizer = adam(model)
    start.restore(model, optimizer)
    with hold(optimizer, model, mask):
        steps(model, optimizer, start.step)
    return Snapshot.take(model, optimizer, step=start.step + STEPS, order=start.order, extra=start.extra)


def sparse(start: Snapshot, mask: Mask) -> Snapshot:
    """As `careful`, with the layers that the mask leaves half of or less trained sparse."""
    model = network()
    optimizer = adam(model)
    start.restore(model, optimizer)
    with hold_sparse(optimizer, model, mask, below=0.5):
        assert (type(model[0]), type(model[3])) == tuple(
            nn.Linear if density > 0.5 else SparseLinear for density in mask.densities().values()
        )
        steps(model, optimizer, start.step)
    return Snapshot.take(model, optimizer, step=start.step + STEPS, order=start.order, extra=start.extra)


def destructive(start: Snapshot, mask: Mask) -> Snapshot:
    """Nothing that it was given is what it was afterwards."""
    result = careful(start, mask)
    for kept in mask.values():
        kept.zero_()
    destroy(start.weights)
    destroy(start.buffers)
    destroy(start.optimizer)
    destroy(start.random)
    destroy(start.order)
    destroy(start.extra)
    return result


def destroy(state: object) -> None:
    if isinstance(state, Tensor):
        state.zero_()
    elif isinstance(state, dict):
        for value in state.values():
            destroy(value)
        state.clear()
    elif isinstance(state, list):
        for value in state:
            destroy(value)
        state.clear()


class Aliasing:
    """One live network, whose parameters and moments lie in what it was given, and in what it gives back."""

    def __init__(self) -> None:
        self.model = network()

    def __call__(self, start: Snapshot, mask: Mask) -> Snapshot:
        for name, parameter in self.model.named_parameters():
            parameter.data = start.weights[name]
        for name, buffer in self.model.named_buffers():
            buffer.copy_(start.buffers[name])
        optimizer = adam(self.model)
        optimizer.load_state_dict(start.optimizer)
        with hold(optimizer, self.model, mask):
            steps(self.model, optimizer, start.step)
        weights, buffers = dict(self.model.named_parameters()), dict(self.model.named_buffers())
        state = optimizer.state_dict()
        return Snapshot(weights, buffers, state, start.step + STEPS, start.random, start.order, start.extra)


def bits(state: object) -> object:
    """All of `state` as plain values that can be compared, tensors by their bytes."""
    if isinstance(state, Snapshot):
        return bits(vars(state))
    if isinstance(state, Tensor):
        return str(state.dtype), tuple(state.shape), state.detach().numpy().tobytes()
    if isinstance(state, dict):
        return {key: bits(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [bits(value) for value in state]
    return state


def with_weights(start: Snapshot, weights: dict[str, Tensor]) -> Snapshot:
    return Snapshot(weights, start.buffers, start.optimizer, start.step, start.random, start.order, start.extra)


@pytest.mark.parametrize("rewind", [to_start, learning_rate, fine_tuning])
@pytest.mark.parametrize("train", [careful, destructive, Aliasing()], ids=["careful", "destructive", "aliasing"])
def test_no_training_can_spoil_a_rewind(train, rewind):
    start, as_it_was = early(), bits(early())
    given = []

    def watched(moment: Snapshot, mask: Mask) -> Snapshot:
        given.append((bits(moment), bits(dict(mask))))
        return train(moment, mask)

    tickets = list(find(watched, start, rounds=3, keep=0.6, keeps=KEEPS, rewind=rewind))
    assert bits(start) == as_it_was
    expected_start = early()
    for number, ticket in enumerate(tickets):
        assert ticket.round == number
        assert given[number] == (bits(expected_start), bits(dict(ticket.mask)))
        assert bits(ticket.start) == bits(expected_start)
        expected = careful(expected_start, ticket.mask)
        for part in ("weights", "buffers", "optimizer", "step", "order", "extra"):
            assert bits(getattr(ticket.trained, part)) == bits(getattr(expected, part)), part
        if rewind is learning_rate:
            expected_start = with_weights(early(), expected.weights)
            expected_start.buffers.update(expected.buffers)
        elif rewind is fine_tuning:
            expected_start = ticket.trained
    assert [ticket.start.step for ticket in tickets] == ([3, 6, 9, 12] if rewind is fine_tuning else [3] * 4)
    assert [round(ticket.density * 80) for ticket in tickets] == [80, 53, 35, 24]  # 48 + 32, 29 + 24, 17 + 18, 10 + 14


@pytest.mark.parametrize("rewind", [to_start, learning_rate, fine_tuning])
def test_rounds_that_train_sparse_find_the_same_tickets(rewind):
    dense, found = (
        list(find(train, early(), rounds=4, keep=0.6, keeps=KEEPS, rewind=rewind)) for train in (careful, sparse)
    )
    for one, other in zip(dense, found, strict=True):
        assert one.mask == other.mask
        assert other.trained.weights.keys() == one.trained.weights.keys()
        for name, wanted in one.trained.weights.items():
            value = other.trained.weights[name]
            if name != "0.bias":  # which BatchNorm takes out again, so that rounding decides about it
                assert torch.allclose(value, wanted, rtol=1e-3, atol=1e-4), name
            if name in other.mask:
                assert torch.equal(value != 0, other.mask[name])
        for number, memory in one.trained.optimizer["state"].items():
            for key, wanted in memory.items():
                assert torch.allclose(other.trained.optimizer["state"][number][key], wanted, rtol=1e-3, atol=1e-4)
    assert found[-1].mask.densities()["3.weight"] < 0.5 < found[1].mask.densities()["3.weight"]


def test_a_network_that_stays_sparse_is_refused():
    def train(start: Snapshot, mask: Mask) -> Snapshot:
        model = network()
        sparsify(model, mask)
        return Snapshot.take(model)

    with pytest.raises(PrunusError, match=r"train gave no 0\.weight, 3\.weight back"):
        next(find(train, early(), rounds=1))


def test_rewinding_is_to_somewhere_else_than_training_ends():
    """Or the test above would pass for a training that does nothing."""
    dense, first, _ = find(careful, early(), rounds=2, keep=0.5)
    for part in ("weights", "buffers", "optimizer"):
        assert bits(getattr(dense.start, part)) == bits(getattr(first.start, part))
        assert bits(getattr(dense.trained, part)) != bits(getattr(dense.start, part))
        assert bits(getattr(dense.trained, part)) != bits(getattr(first.trained, part))


def test_densities_are_the_labels_of_the_paper():
    """Frankle & Carbin 2019, figure 1: LeNet-300-100, 20 % a round, 10 % of the output layer."""
    start = Snapshot.take(models.build("lenet-300-100"))
    tickets = list(find(lambda moment, mask: moment, start, rounds=20, keep=0.8, keeps={"fc3.weight": 0.9}))
    labels = {3: "51.3", 7: "21.1", 9: "13.5", 12: "7.0", 15: "3.6", 16: "2.9", 20: "1.2"}
    assert {number: f"{100 * tickets[number].density:.1f}" for number in labels} == labels

    counts = {"fc1.weight": 784 * 300, "fc2.weight": 300 * 100, "fc3.weight": 100 * 10}
    for ticket in tickets:
        assert {name: int(kept.sum()) for name, kept in ticket.mask.items()} == counts
        assert ticket.density == sum(counts.values()) / 266_200
        for name, count in counts.items():
            part = Fraction(9, 10) if name == "fc3.weight" else Fraction(8, 10)
            counts[name] = floor(part * count + Fraction(1, 2))


def whole_numbers(number: int, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Values from -3 to 3, so that many magnitudes are equal."""
    generator = torch.Generator().manual_seed(number)
    return {name: torch.randint(-3, 4, value.shape, generator=generator).to(value) for name, value in like.items()}


def best(places: list[tuple[str, int]], worth: dict[str, list[float]], count: int) -> set[tuple[str, int]]:
    """The `count` of `places` (tensor, flat index, in their order) that are worth most, the first among equals."""
    return set(sorted(places, key=lambda place: -worth[place[0]][place[1]])[:count])


def places(mask: Mask) -> list[tuple[str, int]]:
    return [(name, place) for name, kept in mask.items() for place, k in enumerate(kept.flatten().tolist()) if k]


def check_by_hand(tickets: list[Ticket], parts: dict[str, float] | float, *, initial=None) -> None:
    """Rank what is left of each tensor (of all, for one part) by its trained values, with nothing of prunus."""
    for before, after in pairwise(tickets):
        worth = {
            name: (trained - (initial[name] if initial else 0)).abs().flatten().tolist()
            for name, trained in before.trained.weights.items()
            if name in before.mask
        }
        left = places(before.mask)
        groups = parts if isinstance(parts, dict) else {None: parts}
        expected: set[tuple[str, int]] = set()
        for name, part in groups.items():
            group = [place for place in left if name in (None, place[0])]
            expected |= best(group, worth, floor(part * len(group) + 0.5))
        assert set(places(after.mask)) == expected
        assert expected < set(left)


def restless(seed: int):
    """A training that gives other weights each time, large ones where weights were pruned."""
    count = 100 * seed

    def train(start: Snapshot, mask: Mask) -> Snapshot:
        nonlocal count
        count += 1
        weights = whole_numbers(count, start.weights)
        return with_weights(start, weights | {n: torch.where(k, weights[n], 99.0) for n, k in mask.items()})

    return train


@pytest.mark.parametrize("seed", range(4))
def test_each_layer_keeps_the_largest_of_what_it_still_has(seed):
    start = Snapshot.take(network())
    tickets = list(find(restless(seed), start, rounds=5, keep=0.7, keeps=KEEPS))
    check_by_hand(tickets, {"0.weight": 0.7, "3.weight": 0.75})


@pytest.mark.parametrize("seed", range(4))
def test_all_layers_compete_where_they_are_told_to(seed):
    tickets = list(find(restless(seed), Snapshot.take(network()), rounds=4, keep=0.7, scope=scope.network))
    check_by_hand(tickets, 0.7)
    assert len({round(density, 2) for density in tickets[-1].mask.densities().values()}) == 2


def test_masks_cover_the_prunable_weights_only():
    for ticket in find(careful, early(), rounds=1):
        assert {name: kept.shape for name, kept in ticket.mask.items()} == {"0.weight": (8, 6), "3.weight": (4, 8)}


@pytest.mark.parametrize("rewind", [to_start, learning_rate, fine_tuning])
def test_a_score_that_asks_for_initial_gets_the_weights_of_the_start(rewind):
    start = Snapshot.take(network())
    tickets = list(find(restless(9), start, rounds=3, keep=0.6, score=score.movement, rewind=rewind))
    check_by_hand(tickets, {"0.weight": 0.6, "3.weight": 0.6}, initial=start.weights)


def test_initial_may_be_given():
    start = Snapshot.take(network())
    other = {name: value for name, value in whole_numbers(77, start.weights).items() if value.ndim == 2}
    tickets = list(find(restless(9), start, rounds=2, keep=0.6, score=score.movement, initial=other))
    check_by_hand(tickets, {"0.weight": 0.6, "3.weight": 0.6}, initial=other)


def test_a_score_of_ones_own_with_evidence_of_its_own():
    seen = []

    def nearest(weights, initial, target):
        seen.append((bits(initial), target, sorted(weights)))
        return {name: -(weight - target).abs() for name, weight in weights.items()}

    start = Snapshot.take(network())
    first = bits({name: start.weights[name] for name in ("0.weight", "3.weight")})
    dense, ticket, _ = find(restless(1), start, rounds=2, keep=0.5, score=nearest, target=2.0)
    assert seen == [(first, 2.0, ["0.weight", "3.weight"])] * 2
    for name, kept in ticket.mask.items():
        distance = (dense.trained.weights[name] - 2).abs()
        assert distance[kept].max() <= distance[~kept].min()


def test_one_shot_is_one_round():
    """It ranks the dense network's weights, which several rounds do not."""
    train = restless(5)
    *_, ticket = tickets = list(find(train, Snapshot.take(network()), rounds=1, keep=0.125))
    check_by_hand(tickets, {"0.weight": 0.125, "3.weight": 0.125})
    *_, iterative = find(restless(5), Snapshot.take(network()), rounds=3, keep=0.5)
    assert iterative.density == ticket.density == 0.125
    assert iterative.mask != ticket.mask


def test_nothing_is_trained_before_it_is_asked_for():
    count = 0

    def train(start: Snapshot, mask: Mask) -> Snapshot:
        nonlocal count
        count += 1
        return start

    tickets = find(train, early(), rounds=9)
    assert count == 0
    for number in range(4):
        assert next(tickets).round == number
        assert count == number + 1


def test_no_rounds_give_the_dense_network():
    (ticket,) = find(careful, early(), rounds=0)
    assert ticket.density == 1.0
    assert bits(ticket.start) == bits(early())


def wide() -> nn.Module:
    """Channels of very different sizes: 9, 72 and 200 entries."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 50, 3), nn.Flatten(), nn.Linear(200, 10))


def test_channels_are_counted_not_their_entries():
    keeps = {"0.weight": 0.9, "3.weight": 0.9}
    train = lambda start, mask: start  # noqa: E731
    counts = {"0.weight": 8, "1.weight": 50, "3.weight": 10}
    for ticket in find(train, Snapshot.take(wide()), rounds=6, keep=0.6, keeps=keeps, pattern=channel(0)):
        for name, kept in ticket.mask.items():
            slices = kept.flatten(1)
            assert torch.equal(slices.any(1), slices.all(1))
            assert int(slices.any(1).sum()) == counts[name], (ticket.round, name)
            counts[name] = floor(Fraction(6 + 3 * (name in keeps), 10) * counts[name] + Fraction(1, 2))


def test_channels_that_compete_over_all_layers():
    """Entries fall slower than channels, or faster; it is channels that the part is of."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 30), nn.Linear(30, 30))
    nn.init.uniform_(model[0].weight, 0.0, 6.0)
    nn.init.uniform_(model[1].weight, 0.0, 1.0)
    left = 60
    train = lambda start, mask: start  # noqa: E731
    for ticket in find(train, Snapshot.take(model), rounds=5, keep=0.75, pattern=channel(0), scope=scope.network):
        assert sum(int(kept.any(1).sum()) for kept in ticket.mask.values()) == left
        left = floor(0.75 * left + 0.5)
    assert abs(ticket.density - 0.75**5) > 0.02


def test_blocks_live_and_die_together():
    train = lambda start, mask: start  # noqa: E731
    dense, ticket = find(train, early(), rounds=1, keep=0.5, pattern=block(2, 2))
    for name, kept in ticket.mask.items():
        weight = dense.trained.weights[name].abs()
        pools = {  # of each corner of each block
            (row, column): [
                (tensor[row + down, column + right]) for tensor in (weight, kept) for down in (0, 1) for right in (0, 1)
            ]
            for row in range(0, len(kept), 2)
            for column in range(0, kept.shape[1], 2)
        }
        alive = {place: {bool(k) for k in corners[4:]} for place, corners in pools.items()}
        assert all(len(decision) == 1 for decision in alive.values())
        sums = {place: sum(corners[:4]).item() for place, corners in pools.items()}
        chosen = [place for place in pools if True in alive[place]]
        assert len(chosen) == len(pools) // 2
        assert min(sums[place] for place in chosen) > max(sums[place] for place in pools if place not in chosen)


def refuse(start: Snapshot, mask: Mask) -> Snapshot:
    raise AssertionError("trained before what was asked for was looked at")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"rounds": -1}, "rounds must be at least 0, found -1"),
        ({"keep": 0.0}, r"keep: the part to keep, 0.0, is outside \(0, 1\]"),
        ({"keep": 1.01}, r"keep: the part to keep, 1.01, is outside \(0, 1\]"),
        ({"keep": float("nan")}, r"keep: the part to keep, nan, is outside \(0, 1\]"),
        ({"keeps": {"3.weight": 0}}, r"3.weight: the part to keep, 0, is outside \(0, 1\]"),
        ({"keeps": {"3.weight": -0.5}}, "3.weight: the part to keep, -0.5"),
        ({"keeps": {"fc3.weight": 0.9}}, "no weights named fc3.weight; there are 0.weight, 3.weight"),
        ({"keeps": {"3.bias": 0.9}}, "no weights named 3.bias"),
        ({"keeps": KEEPS, "scope": scope.network}, "parts of single tensors need the scope `tensor`"),
        ({"keeps": KEEPS, "scope": scope.erk}, "parts of single tensors need the scope `tensor`"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_trained(wrong, sentence):
    with pytest.raises(PrunusError, match=sentence):
        next(find(refuse, early(), **{"rounds": 1, **wrong}))


def test_a_layer_that_would_be_left_with_nothing_is_refused():
    tickets = find(careful, early(), rounds=1, keep=0.01)
    next(tickets)
    with pytest.raises(PrunusError, match=r"0\.weight: nothing of its 48 weights would be kept"):
        next(tickets)
