"""What a random network takes: against all subsets, closed forms, and the bounds that hold for any choice."""

import itertools
import math
from statistics import fmean

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from prunus import draws
from prunus.errors import PrunusError
from prunus.laboratory import Approximated, Netted, Summed
from prunus.recipe import random_network
from prunus.recipe.random_network import EPSILONS, ITEMS, NEARNESS, OFFERED, measure
from prunus.store import Bench, Store, identity
from prunus.subset_sum import Drawn
from prunus.ticket.noise import generator_for


def made(piece, tmp_path):
    return piece.make(Bench(None, tmp_path / "unfinished", lambda *_: None)).metrics


def subsets(items):
    """Sums and sizes of all subsets of a row."""
    chosen = np.array(list(itertools.product((0, 1), repeat=len(items))))
    return chosen @ np.asarray(items, np.float64), chosen.sum(1)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The charts about a network of 3,000 normal weights, fewer targets than usual."""
    folder = tmp_path_factory.mktemp("measured")
    weights = torch.randn(30, 100, generator=torch.Generator().manual_seed(0)) * 0.05
    save_file({"1.weight": weights}, folder / "network.safetensors")
    store = Store(folder / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_network, "TARGETS", 2000)
        patch.setattr(random_network, "NETTED_TARGETS", 1000)
        charts = measure(folder / "network.safetensors", "mine", store)
        made = len(store.runs())
        again = measure(folder / "network.safetensors", "mine", store)
    assert again == charts
    assert len(store.runs()) == made == 9
    return store, [{line.name: line for line in chart.lines} for chart in charts]


def test_sums_are_the_nearest_of_all(tmp_path):
    piece = Summed(6, (0.1, 0.01), 50, seed=3)
    targets, numbers = draws.uniform(3, 0, (50,), -0.5, 0.5).double().numpy(), piece.numbers().numpy()
    assert np.abs(numbers).max() <= 1
    for n, row in enumerate(made(piece, tmp_path)["rows"], 1):
        errors = np.sort([np.abs(subsets(own[:n])[0] - t).min() for own, t in zip(numbers, targets, strict=True)])
        assert row["items"] == n
        assert [row["worst"], row["rare"], row["median"]] == pytest.approx([errors[49], errors[49], errors[24]])
        assert row["within"] == pytest.approx([(errors <= 0.1).mean(), (errors <= 0.01).mean()])


def test_what_a_network_keeps_is_the_smallest_of_all(tmp_path):
    weights = torch.randn(4, 5, generator=torch.Generator().manual_seed(1)) / 4
    save_file({"w": weights, "b": torch.tensor([0.0])}, tmp_path / "w.safetensors")
    piece = Approximated.at(tmp_path / "w.safetensors", (3, 7), (0.1, 0.02), seed=5)
    found = made(piece, tmp_path)
    assert found["weights"] == 21
    values = torch.cat([torch.zeros(1), weights.flatten()])  # names in order
    order = values[torch.randperm(21, generator=generator_for(5, "weights"))]
    for row in found["rows"]:
        items = Drawn(row["items"], float(values.min()), float(values.max()), 5).rows(0, 21)
        kept, met = 0, 0
        for weight, own in zip(order.double().tolist(), items.tolist(), strict=True):
            sums, sizes = subsets(own)
            near = sizes[np.abs(sums - weight) <= row["epsilon"]]
            kept, met = kept + min(near, default=0), met + bool(len(near))
        assert (row["kept"], row["within"]) == pytest.approx((kept / 21, met / 21))
    (tmp_path / "w.safetensors").write_bytes(b"other")
    with pytest.raises(PrunusError, match="has changed since"):
        made(piece, tmp_path)


def test_only_the_bytes_of_a_network_count(tmp_path):
    for name in ("a", "b"):
        save_file({"w": torch.ones(2)}, tmp_path / name)
    first, second = (Approximated.at(tmp_path / name, (3,), (0.1,), 0) for name in ("a", "b"))
    assert identity(first) == identity(second)
    assert identity(first) != identity(Approximated.at(tmp_path / "a", (3,), (0.1,), 1))


def test_one_number_alone_is_near_as_often_as_it_must_be(tmp_path):
    """A number is within epsilon of a target inside with probability epsilon: the draws are geometric."""
    found = made(Netted((0.2, 0.02), 0.9, 3000, seed=0), tmp_path)["draws"]
    assert found == [pytest.approx(math.log(0.1) / math.log1p(-epsilon), rel=0.15) for epsilon in (0.2, 0.02)]


def test_the_floor_is_under_everything_and_more_items_never_hurt(measured):
    _, (errors, _, _) = measured
    floor = errors["n = log2(1/error) - 1: the floor"].points
    assert floor[4] == (1 / 32,)
    for name in ("worst of 2,000", "worst but 1 in 1000", "median"):
        points = errors[name].points
        assert list(points) == list(range(4, ITEMS + 1)) == list(floor)
        for values in zip(*points.values(), strict=True):
            assert list(values) == sorted(values, reverse=True)
        if name != "median":
            assert all(min(points[n]) > floor[n][0] for n in floor)
    medians = [math.log2(fmean(values)) for values in errors["median"].points.values()]
    assert np.polyfit(range(4, ITEMS + 1), medians, 1)[0] == pytest.approx(-1, abs=0.1)


def test_what_is_proven_is_above_what_is_measured_is_above_the_least(measured):
    _, (_, weights, _) = measured
    alone, sums = weights["one weight alone"].points, weights["subset sums"].points
    assert list(alone) == list(sums) == list(EPSILONS)
    for epsilon in EPSILONS:
        (least,) = weights["no numbers do with fewer"].points[epsilon]
        assert (
            least
            <= min(sums[epsilon])
            <= max(sums[epsilon])
            < weights["subset sums: proven (Lueker)"].points[epsilon][0]
        )
        assert max(alone[epsilon]) < weights["one weight alone: proven (Malach)"].points[epsilon][0]
        assert 0.99 <= 2 * epsilon * 2**least < 2 * 0.99
    powers = [
        np.polyfit(np.log([1 / e for e in EPSILONS]), np.log([fmean(v) for v in found.values()]), 1)[0]
        for found in (alone, sums)
    ]
    assert powers[0] == pytest.approx(1, abs=0.07)
    assert powers[1] < 0.2


def test_fewer_are_kept_of_more_and_for_less_nearness(measured):
    store, (_, _, kept) = measured
    lines = [kept[f"of {n}"].points for n in OFFERED]
    for seed in range(3):
        table = np.array([[line[epsilon][seed] for epsilon in NEARNESS] for line in lines])
        assert (np.diff(table, axis=1) > 0).all()
        assert (np.diff(table[:, 2:], axis=0) < 0).all()
    floor = kept["no choice of 21 keeps less"].points
    assert all(0 < floor[epsilon][0] <= fmean(lines[1][epsilon]) for epsilon in NEARNESS)
    assert len({*kept["of 21"].runs} & {*store.runs()}) == 3


def test_successes_are_kept_as_a_table(measured):
    store, (_, weights, _) = measured
    (table,) = [study for study in store.studies() if study["kind"] == "table"]
    shares = [[cell["mean"] for cell in row[1:]] for row in table["rows"][:-1]]
    assert (np.diff(shares, axis=0) >= 0).all()
    needed = weights["subset sums"].points[0.01]
    assert shares[max(needed) - 1][3] >= 99 > shares[min(needed) - 2][3]
    assert table["rows"][-1][1] == "85 items"


def test_one_seed_has_no_spread(tmp_path):
    with pytest.raises(PrunusError, match="a spread takes two seeds"):
        measure(tmp_path / "w", "w", Store(tmp_path / "store"), seeds=(0,))
