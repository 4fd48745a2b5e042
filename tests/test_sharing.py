"""Centroid gradients against autograd through the look-up itself."""

import pytest
import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.quantise import share
from prunus.sharing import Sharing


def network(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    model[0].weight.data[torch.rand(5, 6) < 0.5] = 0
    return model


def shared(model, levels=4):
    return {name: share(parameter.detach(), levels) for name, parameter in model.named_parameters()}


def batch():
    generator = torch.Generator().manual_seed(7)
    return torch.randn(8, 6, generator=generator, dtype=torch.float64), torch.arange(8) % 3


def loss(model):
    inputs, labels = batch()
    return nn.functional.cross_entropy(model(inputs), labels)


def test_centroid_gradients_are_those_of_the_look_up():
    """Oracle: the same network as a function of its centroids, differentiated by autograd."""
    model = network()
    codebooks = shared(model)
    sharing = Sharing(model, codebooks)
    loss(model).backward()

    leaves = {name: codebook.centroids.clone().requires_grad_() for name, codebook in codebooks.items()}
    looked_up = {}
    for name, codebook in codebooks.items():
        flat = torch.zeros(codebook.mask.numel(), dtype=torch.float64)
        places = codebook.mask.reshape(-1).nonzero().squeeze(1)
        looked_up[name] = flat.index_put((places,), leaves[name][codebook.indices]).reshape(codebook.mask.shape)
    inputs, labels = batch()
    output = torch.func.functional_call(model, looked_up, (inputs,))
    expected = torch.autograd.grad(nn.functional.cross_entropy(output, labels), list(leaves.values()))
    for (name, centroids), gradient in zip(sharing.centroids.items(), expected, strict=True):
        torch.testing.assert_close(centroids.grad, gradient, msg=name)


def test_gradients_accumulate_over_backward_calls():
    model = network()
    sharing = Sharing(model, shared(model))
    loss(model).backward()
    once = {name: c.grad.clone() for name, c in sharing.centroids.items()}
    loss(model).backward()
    for name, centroids in sharing.centroids.items():
        torch.testing.assert_close(centroids.grad, 2 * once[name])


def test_gradients_left_by_earlier_training_are_not_counted():
    model, clean = network(), network()
    loss(model).backward()
    sharings = [Sharing(m, shared(m)) for m in (model, clean)]
    for m in (model, clean):
        loss(m).backward()
    for name in sharings[0].centroids:
        assert torch.equal(sharings[0].centroids[name].grad, sharings[1].centroids[name].grad)


def test_training_moves_the_shared_values_and_nothing_else():
    model = network()
    codebooks = shared(model)
    zeros = {name: parameter == 0 for name, parameter in model.named_parameters()}
    with Sharing(model, codebooks) as sharing:
        optimizer = torch.optim.Adam(sharing.centroids.values(), lr=0.05)
        sharing.follow(optimizer)
        before = loss(model).item()
        for _ in range(40):
            optimizer.zero_grad()
            loss(model).backward()
            optimizer.step()
        trained = sharing.codebooks()
    assert loss(model).item() < before / 2
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter == 0, zeros[name])
        assert torch.equal(parameter, trained[name].decode())
        assert torch.equal(trained[name].indices, codebooks[name].indices)
        assert len(parameter[parameter != 0].unique()) <= 4


def test_released_parameters_train_freely():
    model = network()
    Sharing(model, shared(model)).release()
    loss(model).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_state_comes_back():
    model, other = network(), network()
    sharing, restored = Sharing(model, shared(model)), Sharing(other, shared(other))
    with torch.no_grad():
        for centroids in sharing.centroids.values():
            centroids += 0.25
    sharing.write_back()
    restored.load_state_dict(sharing.state_dict())
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_does_not_fit_is_refused():
    codebook = share(torch.ones(2, 2), 2)
    with pytest.raises(PrunusError, match="scale is not a parameter of Linear"):
        Sharing(nn.Linear(2, 2), {"scale": codebook})
    with pytest.raises(PrunusError, match=r"codebook \(2, 2\) != \(3, 2\)"):
        Sharing(nn.Linear(2, 3), {"weight": codebook})
