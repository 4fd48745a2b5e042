"""Masks that move over sparse layers: masks, losses, weights and moments are those of the masked network."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from prunus import hold, hold_sparse, prune, scope, score
from prunus.mask import Mask
from prunus.models import build
from prunus.rewiring import evolutionary, rigl, sparse_momentum
from prunus.sparse import SparseConv2d, SparseLinear
from prunus.tree import parameters

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=3e-3, eps=1e-2),  # or rounding decides where gradients are zero
}


def convolutional():
    maps = [
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.BatchNorm2d(8),
    ]
    return nn.Sequential(*maps, nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 10))


def made(name):
    """A network, and the shape of its images."""
    torch.manual_seed(0)
    return (convolutional(), (1, 9, 9)) if name == "convolutional" else (build(name), (1, 28, 28))


def sparse_layers(model):
    return {name for name, module in model.named_modules() if isinstance(module, SparseLinear | SparseConv2d)}


def step(model, optimizer, number, shape):
    """A step on a batch of its own, with clipped gradients; its loss, and their norm before."""
    generator = torch.Generator().manual_seed(number)
    images, labels = torch.randn(32, *shape, generator=generator), torch.arange(32) % 10
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item(), float(norm)


def assert_close(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", ["convolutional", "lenet-300-100"])
@pytest.mark.parametrize(
    ("make", "how"), [(rigl, {}), (rigl, {"replaces_step": False}), (evolutionary, {}), (sparse_momentum, {})]
)
def test_what_it_trains_is_what_a_held_mask_trains(make, how, name, kind):
    """Layers are dense at steps whose gradients tell where to grow, and at no others."""
    model, shape = made(name)
    twin = deepcopy(model)
    drawn = torch.Generator().manual_seed(1)
    first = prune(model, score.chance, 0.2 if name == "convolutional" else 0.05, scope=scope.erk, generator=drawn)
    optimizer, other = (OPTIMIZERS[kind](one.parameters()) for one in (model, twin))
    dense = []
    with hold_sparse(optimizer, model, first, below=0.4) as held, hold(other, twin, first) as plain:
        sparse = sparse_layers(model)
        moving, plainly = (
            make(one, stepping, network, every=6, end=20, fraction=0.5, **how)
            for one, stepping, network in ((held, optimizer, model), (plain, other, twin))
        )
        for number in range(1, 27):
            if not sparse_layers(model):
                dense.append(number)
            found = step(model, optimizer, number, shape)
            assert found == pytest.approx(step(twin, other, number, shape), rel=1e-3)
            moving(number)
            plainly(number)
            assert held.mask == plain.mask, number
            held.verify()
            assert_close(dict(held.weights), dict(plain.weights))
        assert held.mask.distance(first) > 0.02
        assert sparse_layers(model) == sparse
        assert len(sparse) == 2
    assert dense == {rigl: [6, 12, 18], evolutionary: [], sparse_momentum: list(range(1, 20))}[make]
    assert_close(parameters(model), parameters(twin))
    assert_close(dict(model.named_buffers()), dict(twin.named_buffers()))
    for memory in ("momentum_buffer",) if kind == "sgd" else ("exp_avg", "exp_avg_sq", "step"):
        found, wanted = (
            {n: one.state[p][memory] for n, p in parameters(network).items()}
            for network, one in ((model, optimizer), (twin, other))
        )
        assert_close(found, wanted)


def test_dense_gradients_are_the_masked_network_s_to_the_bit():
    """Of the same weights; a block without an update leaves layers, weights and moments as they were before."""
    model, shape = made("convolutional")
    mask = prune(model, score.chance, 0.3, scope=scope.tensor, generator=torch.Generator().manual_seed(1))
    optimizer = OPTIMIZERS["adam"](model.parameters())
    with hold_sparse(optimizer, model, mask) as held:
        step(model, optimizer, 1, shape)
        optimizer.zero_grad()
        twin, _ = made("convolutional")
        twin.load_state_dict(model.state_dict())
        before = {"weights": held.weights, "moments": [deepcopy(optimizer.state[p]) for p in model.parameters()]}
        images = torch.randn(8, *shape)
        with held.dense_gradients():
            assert not sparse_layers(model)
            model(images).square().mean().backward()
            twin(images).square().mean().backward()
            for name, parameter in model.named_parameters():
                assert torch.equal(parameter.grad, twin.get_parameter(name).grad), name
            assert all(model.get_parameter(name).grad[~kept].any() for name, kept in mask.items())
        assert sparse_layers(model) == {"0", "3", "8"}
        for name, kept in mask.items():
            layer = model.get_submodule(name.removesuffix(".weight"))
            assert torch.equal(layer.values.grad, twin.get_parameter(name).grad.flatten()[layer.connections.entries])
            assert torch.equal(held.weights[name], before["weights"][name])
            assert not held.weights[name][~kept].any()
        for parameter, moments in zip(model.parameters(), before["moments"], strict=True):
            assert all(torch.equal(optimizer.state[parameter][key], value) for key, value in moments.items())


def test_a_block_that_a_release_overtakes_swaps_nothing():
    """A run that ends where the next step would be an update: the network has its own layers, and keeps them."""
    model, shape = made("convolutional")
    own = list(model.parameters())
    mask = prune(model, score.chance, 0.3, scope=scope.tensor, generator=torch.Generator().manual_seed(1))
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with hold_sparse(optimizer, model, mask) as held:
        moving = rigl(held, optimizer, model, every=3, end=9)
        for number in (1, 2):
            step(model, optimizer, number, shape)
            moving(number)
    moving.release()
    assert all(one is other for one, other in zip(model.parameters(), own, strict=True))
    assert Mask.of_nonzero(model) == mask


def test_a_step_that_was_skipped_is_no_update():
    """As a gradient scaler skips it: the layers are the ones from before."""
    model, shape = made("convolutional")
    mask = prune(model, score.chance, 0.3, scope=scope.tensor, generator=torch.Generator().manual_seed(1))
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with hold_sparse(optimizer, model, mask) as held:
        moving = rigl(held, optimizer, model, every=2, end=9)
        step(model, optimizer, 1, shape)
        moving(1)
        assert not sparse_layers(model)
        moving(2)
        assert sparse_layers(model) == {"0", "3", "8"}
        assert held.mask == mask
