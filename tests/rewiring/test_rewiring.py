"""Masks that move while a network trains, against one update by sorting and whole trainings written out by hand."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunus import score
from prunus.data import load
from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.mask import Mask
from prunus.rewiring import Rewiring, evolutionary, rewired, rigl, sparse_momentum
from prunus.settings import Settings, make_optimizer
from prunus.sparse import hold_sparse
from prunus.training import train

SIZES = (6, 10, 4)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(*SIZES[:2]), nn.Tanh(), nn.Linear(*SIZES[1:])).double()


def mask_of(model, density=0.4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    own = {name: value for name, value in model.named_parameters() if value.ndim == 2}
    return Mask({name: torch.rand(value.shape, generator=generator) < density for name, value in own.items()})


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, SIZES[0], dtype=torch.float64, generator=generator), torch.arange(8) % SIZES[-1]


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9, weight_decay=1e-2)


def run(make, steps=12, optimizer=sgd, **how):
    """The network, its mask and the masks after every step, of a training that `make` rewires."""
    model = network()
    stepping = optimizer(model)
    with hold(stepping, model, mask_of(model)) as held:
        rewire = make(held, stepping, model, **how)
        masks = [held.mask]
        for step in range(1, steps + 1):
            stepping.zero_grad()
            inputs, labels = batch(step)
            F.cross_entropy(model(inputs), labels).backward()
            stepping.step()
            rewire(step)
            held.verify()
            masks.append(held.mask)
        rewire.release()
    return model, stepping, masks


def updated_by_hand(kept, drop, grow, fraction):
    """One tensor, flat, as sets of places: the smallest go, the best of what is not kept then come."""
    count = math.floor(fraction * len(kept))
    staying = set(sorted(kept, key=lambda place: (-drop[place], place))[: len(kept) - count])
    others = [place for place in range(len(drop)) if place not in staying]
    return staying | set(sorted(others, key=lambda place: (-grow[place], place))[:count])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_one_update_by_sorting(data):
    size = data.draw(st.integers(1, 12))
    kept = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    drop, grow = (data.draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)) for _ in range(2))
    fraction = data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
    mask = Mask({"w": torch.tensor([kept])})
    found = rewired(mask, {"w": torch.tensor([drop])}, {"w": torch.tensor([grow]).float()}, fraction)
    places = {place for place, one in enumerate(kept) if one}
    expected = updated_by_hand(places, drop, grow, fraction)
    assert {place for place, one in enumerate(found["w"][0].tolist()) if one} == expected
    assert found.kept == mask.kept
    assert (found["w"] & ~mask["w"]).sum() <= math.floor(fraction * len(places))


@pytest.mark.parametrize("replaces_step", [True, False])
def test_rigl_by_hand(replaces_step):
    """Oracle: SGD with momentum and decay written out, dense gradients at every step, masks as products."""
    end, every, fraction = 9, 2, 0.6
    how = {"end": end, "every": every, "fraction": fraction, "replaces_step": replaces_step}
    model, optimizer, masks = run(rigl, **how)

    other = network()
    layers = {"0.weight": other[0], "2.weight": other[2]}
    kept = {name: one.double() for name, one in mask_of(other).items()}
    everything = list(other.parameters())
    memory = [torch.zeros_like(value) for value in everything]
    for name, layer in layers.items():
        layer.weight.data.mul_(kept[name])
    for step in range(1, 13):
        other.zero_grad()
        inputs, labels = batch(step)
        F.cross_entropy(other(inputs), labels).backward()
        update = step < end and step % every == 0
        with torch.no_grad():
            if not (update and replaces_step):
                for value, moving in zip(everything, memory, strict=True):
                    owner = next((name for name, layer in layers.items() if layer.weight is value), None)
                    part = kept[owner] if owner else 1.0
                    moving.mul_(0.9).add_((value.grad + 1e-2 * value) * part)
                    value.sub_(0.3 * moving)
            if update:
                share = fraction / 2 * (1 + math.cos(math.pi * step / end))
                for name, layer in layers.items():
                    before = set(kept[name].flatten().nonzero().flatten().tolist())
                    sizes, slopes = (one.abs().flatten().tolist() for one in (layer.weight, layer.weight.grad))
                    after = updated_by_hand(before, sizes, slopes, share)
                    flat = torch.tensor([float(place in after) for place in range(len(sizes))], dtype=torch.float64)
                    kept[name] = flat.reshape(kept[name].shape)
                    moving = memory[0 if name == "0.weight" else 2]
                    layer.weight.mul_(kept[name])
                    moving.mul_(kept[name])
        for name in layers:
            assert masks[step][name].equal(kept[name] > 0), (step, name)
    changes = [first.distance(second) for first, second in pairwise(masks)]
    assert [step for step, change in enumerate(changes, 1) if change] == [2, 4, 6]  # at 8, less than one of 24
    for value, expected, moving in zip(model.parameters(), everything, memory, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(optimizer.state[value]["momentum_buffer"], moving, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("optimizer", [sgd, lambda m: torch.optim.AdamW(m.parameters(), lr=0.02)], ids=["sgd", "adamw"])
@pytest.mark.parametrize("make", [rigl, evolutionary, sparse_momentum])
def test_density_stays_and_what_grows_is_new(make, optimizer):
    """Every fourth step but none from `end` on; of every tensor, floor(f k) go at most."""
    _, _, masks = run(make, steps=30, optimizer=optimizer, end=21, every=4, fraction=0.5)
    assert {mask.kept for mask in masks} == {masks[0].kept}
    moved = [step for step in range(1, 31) if masks[step] != masks[step - 1]]
    assert set(moved) <= {4, 8, 12, 16, 20}
    assert len(moved) >= 3
    for step in moved:
        before, after = masks[step - 1], masks[step]
        share = 0.25 * (1 + math.cos(math.pi * step / 21))
        for name, kept in before.items():
            assert int((kept & ~after[name]).sum()) <= math.floor(share * int(kept.sum()))
            if make is not sparse_momentum:
                assert int(after[name].sum()) == int(kept.sum())


@pytest.mark.parametrize("optimizer", [sgd, lambda m: torch.optim.AdamW(m.parameters(), lr=0.02)], ids=["sgd", "adamw"])
@pytest.mark.parametrize("make", [rigl, evolutionary, sparse_momentum])
def test_what_grows_begins_at_zero_and_what_was_just_dropped_may_go_on(make, optimizer):
    """Weights, and all that the optimizer remembers of each: zero where new, as they were where kept or kept again."""
    model = network()
    stepping = optimizer(model)
    grown = back = 0
    with hold(stepping, model, mask_of(model, 0.6)) as held:
        rewire = make(held, stepping, model, end=30, every=3, fraction=0.8)
        for step in range(1, 31):
            stepping.zero_grad()
            inputs, labels = batch(step)
            F.cross_entropy(model(inputs), labels).backward()
            stepping.step()
            mask, before = held.mask, remembered(model, stepping)
            rewire(step)
            after = remembered(model, stepping)
            for name, kept in held.mask.items():
                assert all(len(values) >= 2 for values in (before[name], after[name]))
                new = kept & ~mask[name]
                for first, second in zip(before[name], after[name], strict=True):
                    assert not second[new].any()
                    assert second[kept & ~new].equal(first[kept & ~new])
                grown += int(new.sum())
                if step % 3 == 0 and step < 30:
                    count = math.floor(0.4 * (1 + math.cos(math.pi * step / 30)) * int(mask[name].sum()))
                    weight = before[name][0].abs().masked_fill(~mask[name], math.inf).flatten()
                    back += int(kept.flatten()[weight.argsort()[:count]].sum())
    assert grown > 20
    assert back > 0


def remembered(model, optimizer):
    """Of each weight, and of all that its optimizer has of that shape, a copy."""
    return {
        name: [value.detach().clone(), *(one.clone() for one in optimizer.state[value].values() if one.ndim == 2)]
        for name, value in model.named_parameters()
        if value.ndim == 2
    }


def test_momenta_are_means_and_tensors_compete_by_them():
    """Oracle: the running mean by hand; the only update shares out what is dropped as the means of its magnitudes."""
    seen = []

    def watched(weights, momenta):
        seen.append({name: m.clone() for name, m in momenta.items()})
        return score.momentum(weights, momenta)

    def make(held, optimizer, model):
        return Rewiring(
            held, optimizer, model, end=6, every=5, fraction=0.9, grow=watched, redistribute=True, decay=0.75
        )

    _, _, masks = run(make, steps=5)
    model = network()
    optimizer = sgd(model)
    mean = {name: torch.zeros_like(kept, dtype=torch.float64) for name, kept in masks[0].items()}
    with hold(optimizer, model, masks[0]) as held:
        for step in range(1, 6):
            optimizer.zero_grad()
            inputs, labels = batch(step)
            with held.dense_gradients():
                F.cross_entropy(model(inputs), labels).backward()
                for name, m in mean.items():
                    m.copy_(0.75 * m + 0.25 * model.get_parameter(name).grad)
            optimizer.step()
    share = 0.45 * (1 + math.cos(math.pi * 5 / 6))
    (found,) = seen
    total = sum(math.floor(share * int(kept.sum())) for kept in masks[0].values())
    worth = {name: float(m.abs()[masks[0][name]].mean()) for name, m in mean.items()}
    for name, kept in masks[0].items():
        torch.testing.assert_close(found[name], mean[name], rtol=1e-12, atol=1e-15)
        grown = int(masks[5][name].sum()) - int(kept.sum()) + math.floor(share * int(kept.sum()))
        assert abs(grown - total * worth[name] / sum(worth.values())) < 1


def test_a_full_tensor_leaves_the_rest_to_others():
    """Of 7 dropped, the tensor that is worth nearly all has room for 3."""
    mask = Mask({"small": torch.ones(1, 4) > 0, "large": torch.arange(20)[None] < 10})
    drop = {name: torch.arange(one.numel()).reshape(one.shape).float() for name, one in mask.items()}
    grow = {"small": torch.full((1, 4), 100.0), "large": torch.ones(1, 20)}
    found = rewired(mask, drop, grow, 0.55, redistribute=True)
    assert {name: int(one.sum()) for name, one in found.items()} == {"small": 4, "large": 10}
    mask = Mask({"small": torch.arange(4)[None] < 3, "large": torch.arange(20)[None] < 10})
    found = rewired(mask, drop, grow, 0.67, redistribute=True)  # 2 and 6 go, of 8 the small one has room for 3
    assert {name: int(one.sum()) for name, one in found.items()} == {"small": 4, "large": 9}


def test_growth_by_chance_follows_from_seed_and_step():
    first, again, other = (run(evolutionary, end=20, every=3, seed=seed)[2] for seed in (1, 1, 2))
    assert first == again
    assert first[3] != other[3]
    free = [~masks[2]["0.weight"] for masks in (first, other)]
    grown = [masks[3]["0.weight"] & one for masks, one in zip((first, other), free, strict=True)]
    assert all(int(one.sum()) > 0 for one in grown)


@pytest.mark.parametrize("make", [rigl, evolutionary, sparse_momentum])
@pytest.mark.parametrize("stop", [29, 30, 31, 44])
@pytest.mark.parametrize("way", [hold, partial(hold_sparse, below=0.5)], ids=["masked", "sparse"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, make, way, stop):
    digits, how = load("digits"), Settings(steps=50, batch=50, optimizer="adam", learning_rate=3e-3)

    def trained(checkpoint, until):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
        optimizer = make_optimizer(model, how)
        with way(optimizer, model, mask_of(model, 0.3)) as held:
            rewire = make(held, optimizer, model, end=40, every=10)
            parts = {"held": held, "rewiring": rewire}
            train(
                model, digits, how, seed=1, optimizer=optimizer, end=until, on_step=rewire, stateful=parts,
                checkpoint=checkpoint,
            )  # fmt: skip
        return [*model.state_dict().values(), *held.mask.values()]

    undisturbed = trained(None, 50)
    trained(tmp_path / "run", stop)
    resumed = trained(tmp_path / "run", 50)
    assert all(first.equal(second) for first, second in zip(undisturbed, resumed, strict=True))


def test_what_cannot_be_rewired():
    model = network()
    optimizer = sgd(model)
    with hold(optimizer, model, mask_of(model)) as held:
        for how, sentence in (
            ({"every": 0}, "every step or more seldom, found every 0"),
            ({"fraction": 1.5}, "from 0 to 1, found 1.5"),
            ({"decay": 1.0}, "from 0 to below 1, found 1.0"),
        ):
            with pytest.raises(PrunusError, match=sentence):
                Rewiring(held, optimizer, model, end=10, **how)
        rewire = Rewiring(held, optimizer, model, end=10, begin=4)
        with pytest.raises(PrunusError, match="after 4 comes 5, found 6"):
            rewire(6)


def test_a_step_that_was_skipped_is_no_update():
    """As a gradient scaler skips it: the optimizer was never asked, so there is no gradient to go by."""
    model = network()
    optimizer = sgd(model)
    with hold(optimizer, model, mask_of(model)) as held:
        rewire = rigl(held, optimizer, model, end=10, every=1)
        before = held.mask
        F.cross_entropy(model(batch(1)[0]), batch(1)[1]).backward()
        rewire(1)
        assert held.mask == before
        F.cross_entropy(model(batch(2)[0]), batch(2)[1]).backward()
        optimizer.step()
        rewire(2)
        assert held.mask != before
