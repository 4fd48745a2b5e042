"""Masks of the laboratory: the entries that sorting by hand keeps, counted exactly."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from prunus.errors import PrunusError
from prunus.laboratory import Drawn, Inverted, Iterated, MaskFile, Pruned, Shuffled
from prunus.laboratory.task import code_of
from prunus.mask import Mask
from prunus.store import identity

from .benches import NOISY, Given, largest, make, network, places, same, snapshot

SHAPES = {"first": (4, 5), "conv": (2, 3, 2, 2), "last": (3, 4)}
PARTS = [0.125, 0.25, 0.5, 0.75, 0.875, 1.0]


def tree(draw: Any) -> dict[str, torch.Tensor]:
    """Weights with many equal magnitudes, and a bias that is not to be pruned."""
    sizes = {name: math.prod(shape) for name, shape in SHAPES.items()}
    values = {n: draw(st.lists(st.integers(-4, 4), min_size=size, max_size=size)) for n, size in sizes.items()}
    weights = {name: torch.tensor(values[name], dtype=torch.float32).reshape(SHAPES[name]) for name in SHAPES}
    return weights | {"bias": torch.tensor([9.0, 9.0])}


def pruned(weights: dict[str, torch.Tensor], **how: Any) -> Mask:
    found = make(Pruned(NOISY, Given(snapshot(weights)), **how))
    mask = found.result
    assert isinstance(mask, Mask)
    assert found.metrics == {
        "density": sum(map(len, places(mask).values())) / 56,
        "densities": {name: len(kept) / mask[name].numel() for name, kept in places(mask).items()},
    }
    return mask


def magnitudes(weights: dict[str, torch.Tensor], alive: dict[str, set[int]]) -> dict[str, list[float]]:
    """|w| of each prunable tensor, -1 where nothing is left."""

    def of(name: str, value: float, place: int) -> float:
        return abs(value) if place in alive[name] else -1.0

    return {name: [of(name, value, k) for k, value in enumerate(weights[name].flatten().tolist())] for name in SHAPES}


def half_up(value: float) -> int:
    return math.floor(value + 0.5)


@given(st.data())
def test_rounds_in_each_tensor(data: st.DataObject) -> None:
    """Each tensor keeps its part, exactly, of what it had; parts are eighths, so there is no rounding in the oracle."""
    keep = data.draw(st.sampled_from(PARTS))
    keeps = data.draw(st.dictionaries(st.sampled_from(sorted(SHAPES)), st.sampled_from(PARTS)))
    alive = {name: set(range(math.prod(shape))) for name, shape in SHAPES.items()}
    mask: Mask | None = None
    for _ in range(3):
        weights = tree(data.draw)
        counts = {name: half_up(keeps.get(name, keep) * len(alive[name])) for name in SHAPES}
        assume(all(counts.values()))
        within = None if mask is None else Given(mask)
        mask = pruned(weights, keep=keep, keeps=tuple(keeps.items()), within=within)
        scores = magnitudes(weights, alive)
        alive = {name: largest(scores[name], counts[name]) for name in SHAPES}
        assert places(mask) == alive


@given(st.data())
def test_rounds_over_the_network(data: st.DataObject) -> None:
    """All tensors compete: one sorted list of all entries, the first tensor's first."""
    alive = {name: set(range(math.prod(shape))) for name, shape in SHAPES.items()}
    mask: Mask | None = None
    for _ in range(2):
        weights, keep = tree(data.draw), data.draw(st.sampled_from([0.5, 0.75, 0.875]))
        wanted = keep * sum(map(len, alive.values()))
        assume(wanted % 1 != 0.5)  # where a density of so many digits may fall to either side
        within = None if mask is None else Given(mask)
        scores = magnitudes(weights, alive)
        owners = [(name, place) for name in SHAPES for place in range(math.prod(SHAPES[name]))]
        best = largest([scores[name][place] for name, place in owners], half_up(wanted))
        alive = {name: {owners[k][1] for k in best if owners[k][0] == name} for name in SHAPES}
        assume(all(alive.values()))
        mask = pruned(weights, keep=keep, within=within, scope="network")
        assert places(mask) == alive


@given(st.data())
def test_as_much_as_in_another_mask(data: st.DataObject) -> None:
    weights = tree(data.draw)
    like = {
        name: torch.tensor(data.draw(st.lists(st.booleans(), min_size=w.numel(), max_size=w.numel()))).reshape(w.shape)
        for name, w in weights.items()
        if name in SHAPES
    }
    assume(all(kept.any() for kept in like.values()))
    counts = {name: int(kept.sum()) for name, kept in like.items()}
    mask = pruned(weights, keep=0.125, like=Given(Mask(like)))
    everything = {name: set(range(math.prod(shape))) for name, shape in SHAPES.items()}
    scores = magnitudes(weights, everything)
    assert places(mask) == {name: largest(scores[name], counts[name]) for name in SHAPES}


def test_as_much_as_in_another_mask_within_a_third() -> None:
    weights = {"a": torch.tensor([[5.0, -4.0, 3.0, 2.0, 1.0]])}
    like = Mask({"a": torch.tensor([[False, False, False, True, True]])})
    within = Mask({"a": torch.tensor([[False, True, False, True, True]])})
    found = make(Pruned(NOISY, Given(snapshot(weights)), like=Given(like), within=Given(within)))
    assert places(found.result) == {"a": {1, 3}}  # type: ignore[arg-type]
    with pytest.raises(PrunusError, match="more is to be kept than `within`"):
        make(Pruned(NOISY, Given(snapshot(weights)), like=Given(within), within=Given(like)))


def test_the_smallest_instead() -> None:
    weights = {"a": torch.tensor([[5.0, -4.0, 3.0, -2.0, 1.0, -0.5]])}
    found = make(Pruned(NOISY, Given(snapshot(weights)), keep=0.5, score="small_final"))
    assert places(found.result) == {"a": {3, 4, 5}}  # type: ignore[arg-type]


@given(st.data())
def test_inverted_keeps_what_would_go_first(data: st.DataObject) -> None:
    """Exactly as much of each tensor, of the smallest; where `within` says so, of those alone."""
    weights, keep = tree(data.draw), data.draw(st.sampled_from(PARTS))
    alive = {name: set(range(math.prod(shape))) for name, shape in SHAPES.items()}
    within: Mask | None = None
    if data.draw(st.booleans()):
        within = pruned(tree(data.draw), keep=0.5)
        alive = places(within)
    counts = {name: half_up(keep * len(alive[name])) for name in SHAPES}
    assume(all(counts.values()))
    found = make(Inverted(NOISY, Given(snapshot(weights)), keep=keep, within=Given(within) if within else None))
    assert isinstance(found.result, Mask)
    for name, kept in places(found.result).items():
        sizes = weights[name].abs().flatten().tolist()
        ascending = sorted(alive[name], key=lambda place: (sizes[place], place))
        assert kept == set(ascending[: counts[name]])


def test_an_inverted_score_gets_what_it_asks_for() -> None:
    """Of 5, 1, 1 that began at 0, 3, 1, the last moved least."""
    final, initial = ({"a": torch.tensor([values])} for values in ([5.0, 1.0, 1.0], [0.0, 3.0, 1.0]))
    start, end = Given(snapshot(initial), "start"), Given(snapshot(final), "end")
    for kind, expected in ((Pruned, {0}), (Inverted, {2})):
        found = make(kind(NOISY, end, keep=1 / 3, initial=start, score="movement"))
        assert places(found.result) == {"a": expected}  # type: ignore[arg-type]


def rows(weights: dict[str, torch.Tensor], **how: Any) -> dict[str, set[int]]:
    """The rows that are kept, of which every entry has to be."""
    mask = make(Pruned(NOISY, Given(snapshot(weights)), pattern="channel(0)", **how)).result
    assert isinstance(mask, Mask)
    assert all(kept.all(1).equal(kept.any(1)) for kept in mask.values())
    return {name: set(kept.any(1).nonzero().flatten().tolist()) for name, kept in mask.items()}


def test_a_pattern_is_counted_in_what_lives_together() -> None:
    """Row sums are 3, 10, 6, 9 and 4, 1, 8; of seven rows, half are four, of which half are two."""
    weights = {
        "a": torch.tensor([[1.0, 2.0], [5.0, -5.0], [3.0, 3.0], [0.0, 9.0]]),
        "b": torch.tensor([[1.0, -1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]]),
    }
    assert rows(weights, keep=0.5) == {"a": {1, 3}, "b": {0, 2}}
    assert rows(weights, keep=0.5, scope="network") == {"a": {1, 2, 3}, "b": {2}}
    within = make(Pruned(NOISY, Given(snapshot(weights)), pattern="channel(0)", keep=0.5, scope="network")).result
    assert rows(weights, keep=0.5, within=Given(within)) == {"a": {1, 3}, "b": {2}}
    assert rows(weights, keep=0.75, within=Given(within), scope="network") == {"a": {1, 3}, "b": {2}}
    assert rows(weights, keep=0.9, within=Given(within), scope="network") == {"a": {1, 2, 3}, "b": {2}}
    assert rows(weights, like=Given(within)) == {"a": {1, 2, 3}, "b": {2}}
    four = Mask({"a": torch.arange(4)[:, None].expand(4, 2) == 1, "b": torch.ones(3, 4, dtype=torch.bool)})
    assert rows(weights, like=Given(four), scope="network") == {"a": {1, 2, 3}, "b": {2}}
    assert rows(weights, like=Given(within), score="small_final") == {"a": {0, 2, 3}, "b": {1}}


def test_a_score_that_looks_at_the_start() -> None:
    weights, start = torch.tensor([[5.0, -4.0, 3.0, 2.0]]), torch.tensor([[5.0, 4.0, 0.0, 1.5]])  # moved 0, 8, 3, 0.5
    trained, initial = Given(snapshot({"a": weights, "b": weights[0]})), Given(snapshot({"a": start, "b": start[0]}))
    found = make(Pruned(NOISY, trained, keep=0.5, score="movement", initial=initial))
    assert places(found.result) == {"a": {1, 2}}  # type: ignore[arg-type]
    with pytest.raises(PrunusError, match="score movement needs `initial`"):
        make(Pruned(NOISY, trained, keep=0.5, score="movement"))


def test_a_score_that_looks_at_gradients() -> None:
    """Oracle: backward() on 256 rows after the other, without dropout, BatchNorm by the batch as before training."""
    start = make(Drawn(NOISY, 3)).result
    model = network(NOISY, start)  # type: ignore[arg-type]
    split = NOISY.read().train
    for module in model.modules():
        module.training = isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    inputs = (split.inputs.float() - split.offset[:, None, None]) / split.scale[:, None, None]
    for rows, labels in zip(inputs.split(256), split.labels.split(256), strict=True):
        F.cross_entropy(model(rows), labels, reduction="sum").backward()
    before = torch.get_rng_state()
    found = make(Pruned(NOISY, Given(start), keep=0.5, score="gradient")).result
    assert torch.get_rng_state().equal(before)
    assert isinstance(found, Mask)
    for name, kept in found.items():
        gradient = dict(model.named_parameters())[name].grad
        assert gradient is not None
        edge = gradient.abs().flatten().sort(descending=True).values[gradient.numel() // 2 - 1]
        differing = kept ^ (gradient.abs() >= edge)
        assert int(kept.sum()) == gradient.numel() // 2
        assert bool((differing.logical_not() | ((gradient.abs() - edge).abs() <= 1e-5 * edge)).all())


def test_a_score_that_is_iterated() -> None:
    """Oracle: `Pruned` again and again, each within the one before, its start masked by hand: 592, 296, 148 weights."""
    start: Any = make(Drawn(NOISY, 3)).result
    mask: Any = None
    for _ in range(3):
        masked = start if mask is None else replace(start, weights=mask.apply(start.weights))
        within = None if mask is None else Given(mask)
        mask = make(Pruned(NOISY, Given(masked), score="synflow", scope="network", within=within, keep=0.5)).result
    found: Any = make(Iterated(NOISY, Given(start), score="synflow", scope="network", keep=0.125, rounds=3)).result
    assert found.kept == 148
    assert same(found, mask)
    like = {"fc1.weight": torch.arange(1024).reshape(16, 64) < 90, "fc2.weight": torch.eye(10, 16) > 0}
    shared: Any = make(Iterated(NOISY, Given(start), score="taylor", like=Given(Mask(like)), rounds=3)).result
    assert {name: int(kept.sum()) for name, kept in shared.items()} == {"fc1.weight": 90, "fc2.weight": 10}
    one: Any = make(Iterated(NOISY, Given(start), score="grasp", keep=0.5, rounds=1)).result
    assert same(one, make(Pruned(NOISY, Given(start), score="grasp", keep=0.5)).result)


def test_chance_follows_from_the_seed_alone() -> None:
    weights = {"a": torch.zeros(20, 20), "b": torch.zeros(5, 40)}
    trained = Given(snapshot(weights))

    def masked(**how: Any) -> Mask:
        return make(Pruned(NOISY, trained, score="chance", **how)).result  # type: ignore[return-value]

    torch.manual_seed(1)
    first = masked(keep=0.25, seed=7)
    before = torch.get_rng_state()
    assert same(first, masked(keep=0.25, seed=7))
    assert torch.get_rng_state().equal(before)
    assert not same(first, masked(keep=0.25, seed=8))
    assert first.kept == 150
    assert first.densities() == {"a": 0.25, "b": 0.25}
    like = Given(Mask({"a": torch.ones(20, 20, dtype=torch.bool), "b": torch.arange(200).reshape(5, 40) < 20}))
    together = masked(like=like, scope="network")
    assert together.kept == 420
    assert abs(together.densities()["a"] - 0.7) < 5 * math.sqrt(0.7 * 0.3 / 400)  # five deviations, and more
    assert together.densities()["a"] != 1.0


def test_a_persons_own_score(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def nearest_to_two(weights):\n    return {n: -(w - 2).abs() for n, w in weights.items()}\n")
    name = f"{path}:nearest_to_two"
    trained = Given(snapshot({"a": torch.tensor([[5.0, -2.0, 2.5, 1.0, 0.0, 2.0]])}))
    piece = Pruned(NOISY, trained, keep=0.5, score=name, score_code=code_of("score", name))
    assert places(make(piece).result) == {"a": {2, 3, 5}}  # type: ignore[arg-type]
    path.write_text(path.read_text().replace("- 2", "- 5"))
    with pytest.raises(PrunusError, match=f"score '{name}' has changed since this experiment was put together"):
        make(piece)
    again = Pruned(NOISY, trained, keep=0.5, score=name, score_code=code_of("score", name))
    assert identity(again) != identity(piece)
    assert places(make(again).result) == {"a": {0, 2, 5}}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"keep": 0.5, "keeps": (("nothing", 0.5),)}, "no weights named nothing; there are a"),
        ({"keep": 0.5, "keeps": (("a", 0.5),), "scope": "network"}, "need the scope `tensor`"),
        ({"keep": 0.01}, "nothing of its 6 weights would be kept"),
        ({"score": "magnitde"}, "unknown score 'magnitde', did you mean 'magnitude'"),
        ({"scope": "tenso"}, "unknown scope 'tenso', did you mean 'tensor'"),
        ({"pattern": "elements"}, "unknown pattern 'elements', did you mean 'element'"),
    ],
)
def test_what_cannot_be_pruned_so(how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PrunusError, match=sentence):
        make(Pruned(NOISY, Given(snapshot({"a": torch.arange(6.0).reshape(2, 3)})), **how))


def test_shuffled_keeps_counts_and_not_places() -> None:
    mask = Mask({"a": torch.arange(400).reshape(20, 20) < 100, "b": torch.arange(60).reshape(3, 20) < 59})
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make(Shuffled(Given(mask), 5))
    assert torch.get_rng_state().equal(before)
    found = first.result
    assert isinstance(found, Mask)
    assert {name: int(kept.sum()) for name, kept in found.items()} == {"a": 100, "b": 59}
    assert first.metrics == {"density": 159 / 460, "densities": {"a": 0.25, "b": 59 / 60}}
    assert same(found, make(Shuffled(Given(mask), 5)).result)
    assert not same(found, make(Shuffled(Given(mask), 6)).result)
    assert abs(int((found["a"] & mask["a"]).sum()) - 25) < 5 * math.sqrt(100 * 0.25 * 0.75 * 300 / 399)
    assert int(mask["a"].flatten()[:100].sum()) == 100


def test_shuffled_hits_all_places_alike() -> None:
    """Oracle: of 600 draws of 3 out of 12, a place is kept in 150, with a deviation of 10.6."""
    mask = Given(Mask({"a": torch.arange(12).reshape(3, 4) < 3}))
    drawn = [make(Shuffled(mask, seed)).result for seed in range(600)]
    times = torch.stack([found["a"] for found in drawn]).sum(0)  # type: ignore[index]
    assert bool(((times - 150).abs() < 5 * math.sqrt(600 * 0.25 * 0.75)).all())


def test_a_mask_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask, other = (Mask({"a": torch.arange(6).reshape(2, 3) < count}) for count in (2, 3))
    mask.save(tmp_path / "mask.safetensors")
    mask.save(tmp_path / "copy.safetensors")
    monkeypatch.chdir(tmp_path)
    piece = MaskFile.at(Path("mask.safetensors"))
    monkeypatch.chdir("/")
    found = make(piece)
    assert same(found.result, mask)
    assert found.metrics == {"density": 1 / 3, "densities": {"a": 1 / 3}}
    assert identity(piece) == identity(MaskFile.at(tmp_path / "copy.safetensors"))
    other.save(tmp_path / "mask.safetensors")
    assert identity(MaskFile.at(tmp_path / "mask.safetensors")) != identity(piece)
    with pytest.raises(PrunusError, match=r"mask\.safetensors has changed since this experiment was put together"):
        make(piece)
    with pytest.raises(FileNotFoundError):
        MaskFile.at(tmp_path / "nothing")
