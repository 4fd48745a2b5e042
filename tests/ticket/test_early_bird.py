"""When the channels are settled: masks by sorting, distances by counting."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from prunus.errors import PrunusError
from prunus.snapshot import copied
from prunus.structured.slimming import penalty
from prunus.ticket.early_bird import EarlyBird


def network() -> nn.Sequential:
    """Eight channels in two layers that are ranked, and others that are not."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 1),
        nn.BatchNorm2d(3),
        nn.InstanceNorm2d(3, affine=True),
        nn.BatchNorm2d(3, affine=False),
        nn.Sequential(nn.BatchNorm1d(5), nn.LayerNorm(5)),
    )


def scale(model: nn.Sequential, values: list[float]) -> nn.Sequential:
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor(values[:3]))
        model[4][0].weight.copy_(torch.tensor(values[3:]))
    return model


def largest(values: list[float], count: int) -> set[int]:
    return set(sorted(range(len(values)), key=lambda k: (-abs(values[k]), k))[:count])


def kept(bird: EarlyBird) -> set[int]:
    return set(torch.cat([bird.mask["1.weight"], bird.mask["4.0.weight"]]).nonzero().squeeze(1).tolist())


SCALES = st.lists(st.sampled_from([-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0]), min_size=8, max_size=8)


@given(
    st.lists(SCALES, min_size=1, max_size=9),
    st.integers(1, 8),
    st.integers(2, 5),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_masks_distances_and_the_moment(epochs: list[list[float]], count: int, window: int, threshold: float) -> None:
    """Oracle: all masks so far as sets of channels."""
    bird, model = EarlyBird(count / 8, window=window, threshold=threshold), network()
    history: list[set[int]] = []
    for values in epochs:
        settled = bird.update(scale(model, values))
        history.append(largest(values, count))
        assert kept(bird) == history[-1]
        distances = [len(history[-1] ^ older) / 8 for older in history[-window:-1]]
        assert bird.distances == distances
        assert settled == (len(history) >= window and all(distance <= threshold for distance in distances))


def test_only_batchnorm_scales_are_ranked() -> None:
    bird = EarlyBird(0.5)
    bird.update(network())
    assert {name: mask.tolist() for name, mask in bird.mask.items()} == {
        "1.weight": [True, True, True],
        "4.0.weight": [True, False, False, False, False],
    }


def test_the_newest_mask_is_compared_with_all_others() -> None:
    """A mask that turns back is near the oldest and far from the one before."""
    ends = [[1.0] * 4 + [0.0] * 4, [0.0] * 4 + [1.0] * 4]
    bird, model = EarlyBird(0.5, window=3), network()
    assert [bird.update(scale(model, ends[k])) for k in (0, 1, 0)] == [False, False, False]
    assert bird.distances == [0.0, 1.0]
    assert [bird.update(scale(model, ends[0])) for _ in range(2)] == [False, True]


def test_the_threshold_itself_is_near_enough() -> None:
    model = nn.BatchNorm1d(20)
    bird = EarlyBird(0.5, window=2, threshold=0.1)
    with torch.no_grad():
        model.weight.copy_(torch.arange(20.0))
        bird.update(model)
        model.weight[10], model.weight[0] = 0.0, 10.0  # one channel for another: 2 of 20 differ
    assert bird.update(model)
    assert bird.distances == [0.1]


def test_a_mask_is_a_copy() -> None:
    model = network()
    bird = EarlyBird(0.5, window=2)
    bird.update(scale(model, [1.0] * 4 + [0.0] * 4))
    scale(model, [0.0] * 4 + [1.0] * 4)
    assert kept(bird) == {0, 1, 2, 3}


def test_a_run_that_was_killed_goes_on() -> None:
    generator = torch.Generator().manual_seed(0)
    epochs = [torch.rand(8, generator=generator).tolist() for _ in range(2)] * 3
    whole, first, second = (EarlyBird(0.5, window=3, threshold=1.0) for _ in range(3))
    for values in epochs[:2]:
        whole.update(scale(network(), values))
        first.update(scale(network(), values))
    second.load_state_dict(copied(first.state_dict()))
    assert second.distances == whole.distances
    for values in epochs[2:]:
        assert second.update(scale(network(), values)) == whole.update(scale(network(), values))
        assert second.distances == whole.distances


def test_the_penalty_and_its_gradient() -> None:
    model = scale(network(), [1.0, -2.0, 0.5, 0.0, 3.0, -0.25, 1.0, 1.0])
    loss = penalty(model)
    assert loss.item() == 8.75
    loss.backward()
    assert model[1].weight.grad.tolist() == [1.0, -1.0, 1.0]
    assert model[4][0].weight.grad.tolist() == [0.0, 1.0, -1.0, 1.0, 1.0]
    assert all(p.grad is None for name, p in model.named_parameters() if name not in ("1.weight", "4.0.weight"))


def test_a_layer_used_twice_counts_once() -> None:
    shared = nn.BatchNorm1d(3)
    assert penalty(nn.Sequential(shared, shared)).item() == 3.0


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)])
def test_a_model_without_scales(model: nn.Module) -> None:
    with pytest.raises(PrunusError, match="has no BatchNorm scales"):
        EarlyBird(0.5).update(model)
    with pytest.raises(PrunusError, match="has no BatchNorm scales"):
        penalty(model)


def test_no_mask_before_the_first_update() -> None:
    with pytest.raises(PrunusError, match="no mask before the first update"):
        _ = EarlyBird(0.5).mask


@pytest.mark.parametrize(
    ("density", "window", "threshold", "message"),
    [
        (0.0, 5, 0.1, "density 0.0 is outside"),
        (1.1, 5, 0.1, "density 1.1 is outside"),
        (0.5, 1, 0.1, "a window has two masks at least, found 1"),
        (0.5, 5, 1.5, "threshold 1.5 is outside"),
    ],
)
def test_settings_that_make_no_sense(density: float, window: int, threshold: float, message: str) -> None:
    with pytest.raises(PrunusError, match=message):
        EarlyBird(density, window=window, threshold=threshold)
