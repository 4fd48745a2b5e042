"""`sparsify`: outputs, gradients and training are those of the masked network, and back again is what it was."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from prunus import densify, hold, kernel, sparsify
from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.sparse import SparseConv2d, SparseLinear, choice
from prunus.tree import parameters, weights

from .networks import NETWORKS, made


def chosen(model: nn.Module, density: float = 0.4) -> Mask:
    generator = torch.Generator().manual_seed(1)
    return Mask(
        {name: torch.rand(weight.shape, generator=generator) < density for name, weight in weights(model).items()}
    )


def masked(model: nn.Module, mask: Mask) -> nn.Module:
    copy = deepcopy(model)
    mask.apply_to(copy)
    return copy


def near(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=1e-4, atol=1e-5)


def assert_near_gradients(model: nn.Module, dense: nn.Module) -> None:
    gradients = {name: parameter.grad for name, parameter in parameters(dense).items()}
    for module_name, module in model.named_modules():
        if isinstance(module, SparseLinear | SparseConv2d):
            of_weight = gradients.pop(f"{module_name}.weight")
            if module.values.requires_grad:
                assert of_weight is not None
                assert module.values.grad is not None
                assert near(module.values.grad, of_weight.flatten()[module.connections.entries])
            else:
                assert of_weight is module.values.grad is None
    for name, gradient in gradients.items():
        of_parameter = parameters(model)[name].grad
        assert (of_parameter is None) == (gradient is None)
        assert of_parameter is None or near(of_parameter, gradient)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("batch", [32, 21, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_sparse_network_is_the_masked_one(name: str, batch: int, training: bool) -> None:
    model, inputs = made(name, batch)
    mask = chosen(model)
    dense = masked(model, mask)
    sparsify(model, mask)
    for network in (model, dense):
        network.train(training)
    wanted = dense(inputs)
    found = model(inputs)
    assert near(found, wanted)
    for outputs in (found, wanted):
        (outputs * torch.arange(5)).sum().backward()
    assert_near_gradients(model, dense)
    for name, buffer in dense.named_buffers():
        assert near(model.get_buffer(name).float(), buffer.float())


@pytest.mark.parametrize("name", NETWORKS)
def test_few_rows_without_gradients_have_the_outputs_of_the_masked_network(name: str) -> None:
    model, inputs = made(name, 9)
    mask = chosen(model)
    dense = masked(model, mask).eval()
    sparsify(model, mask)
    model.eval()
    with torch.no_grad():
        for batch in (1, 2, 8, 9):
            assert near(model(inputs[:batch]), dense(inputs[:batch]))
    assert near(model(inputs[:2]), dense(inputs[:2]))


@pytest.mark.parametrize("place", [0, 1, 3, 4, 5])
def test_a_hook_sees_what_its_module_does_and_adds_to_its_gradient(place: int) -> None:
    model, inputs = made("rectified", 32)
    mask = chosen(model)
    dense = masked(model, mask)
    sparsify(model, mask)
    found: list[list[Tensor]] = [[], []]
    for network, seen in zip((model, dense), found, strict=True):
        network[place].register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output))
        (network(inputs).sum() + seen[0].square().sum()).backward()
    assert near(kernel.from_lanes(found[0][0], 32), found[1][0])
    assert_near_gradients(model, dense)


@pytest.mark.parametrize("name", NETWORKS)
def test_back_again_is_the_masked_network(name: str) -> None:
    model, inputs = made(name, 17)
    mask = chosen(model)
    dense = masked(model, mask)
    sparsify(model, mask)
    densify(model)
    assert [type(module) for module in model.modules()] == [type(module) for module in dense.modules()]
    assert str(model) == str(dense)
    for (name, found), (other, wanted) in zip(model.state_dict().items(), dense.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(found, wanted)
    assert torch.equal(model.eval()(inputs), dense.eval()(inputs))


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["residual", "perceptron"])
def test_an_optimizer_goes_on_from_dense_to_sparse_and_back(name: str, kind: str) -> None:
    model, inputs = made(name, 32)
    mask = chosen(model)
    twin = deepcopy(model)

    def optimizer_of(network: nn.Module) -> torch.optim.Optimizer:
        if kind == "sgd":
            return torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
        return torch.optim.Adam(network.parameters(), lr=0.01, eps=1e-3)  # or rounding decides where gradients are zero

    def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            network(inputs).square().mean().backward()
            optimizer.step()

    optimizer, other = optimizer_of(model), optimizer_of(twin)
    for network, one in ((model, optimizer), (twin, other)):
        train(network, one, 3)
    with hold(other, twin, mask) as held:
        train(twin, other, 6)
        sparsify(model, mask, optimizer=optimizer)
        train(model, optimizer, 3)
        densify(model, optimizer=optimizer)
        with hold(optimizer, model, mask) as again:
            again.verify()
            train(model, optimizer, 3)
        held.verify()
    for (name, found), wanted in zip(parameters(model).items(), parameters(twin).values(), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4), name
    own = {id(parameter) for parameter in model.parameters()}
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == own
    assert {id(p) for p in optimizer.state} == own


def test_lanes_are_handed_on_past_what_minds_none() -> None:
    model, _ = made("residual", 1)
    sparsify(model, chosen(model))
    hands = {n: (m.takes_lanes, m.gives_lanes) for n, m in model.named_modules() if hasattr(m, "takes_lanes")}
    assert hands == {"conv1": (False, True), "conv2": (True, True), "conv3": (True, True), "fc": (True, False)}
    model, _ = made("twice", 1)
    sparsify(model, chosen(model))
    assert model.fc1.chain is model.fc2.chain is None
    model, _ = made("perceptron", 1)
    sparsify(model, chosen(model))
    assert [model[i].gives_lanes for i in (0, 3, 6)] == [True, False, False]  # dropout draws numbers in its order


def test_only_what_can_and_shall_be_sparse_is() -> None:
    shared = nn.Linear(6, 6)
    twin = nn.Linear(6, 6)
    twin.weight = shared.weight
    odd = nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")
    model = nn.ModuleDict(
        {"a": shared, "b": twin, "c": odd, "d": nn.Linear(6, 4), "e": nn.LSTM(3, 2), "f": nn.Linear(4, 4)}
    )
    mask = chosen(model, 0.3)
    mask = Mask({**mask, "f.weight": torch.ones(4, 4, dtype=torch.bool)})
    found = sparsify(model, mask, below=0.9)
    assert found.sparse == ("d",)
    assert set(found.dense) == set(mask) - {"d.weight"}
    assert found.mask == Mask({name: kept for name, kept in mask.items() if name != "d.weight"})
    lines = str(found).splitlines()
    assert "d: sparse" in lines
    assert "a.weight: dense, a weight that layers share" in lines
    assert "f.weight: dense, of density 1" in lines


@pytest.mark.parametrize(
    ("seconds", "sparse"),
    [
        ([3.0, 2.0, 2.5, 2.6], ("0",)),  # the one that is faster by itself
        ([3.0, 2.0, 1.0, 2.6], ("0", "2")),  # and the one that is on lanes
        ([3.0, 2.0, 2.5, 1.9], ("0", "2", "4")),
        ([1.0, 2.0, 2.5, 2.6], ()),
    ],
)
def test_what_is_measured_decides(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float], sparse: tuple[str, ...]
) -> None:
    clock = [[1e-3, 5e-4, 4e-4], [1.0, 2.0, 0.5], [1.0, 4.0, 3.0], seconds]
    monkeypatch.setattr(choice, "is_available", lambda inputs: False)  # see test_compressed
    measured = []

    def medians(steps: list[Callable[[], None]]) -> list[float]:
        for step in steps:
            step()
        measured.append(len(steps))
        return clock[len(measured) - 1]

    monkeypatch.setattr(choice, "_medians", medians)
    monkeypatch.setattr(choice, "_KNOWN", {})
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    found = sparsify(model, chosen(model), example=torch.randn(6, 5))
    assert found.sparse == sparse
    assert measured == [3, 3, 3, 4]
    state = "sparse" if "0" in sparse else "dense, which is faster"
    assert any(f": {state} (dense 1 ms, sparse 0.5 ms, 0.4 on lanes)" in line for line in str(found).splitlines())
    assert [type(model[i]) is SparseLinear for i in (0, 2, 4)] == [name in sparse for name in ("0", "2", "4")]


@pytest.mark.parametrize("training", [True, False])
def test_networks_are_measured_in_the_mode_they_are_in(monkeypatch: pytest.MonkeyPatch, training: bool) -> None:
    modes: set[bool] = set()
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)).train(training)
    model[2].register_forward_hook(lambda module, inputs, output: modes.add(module.training))
    monkeypatch.setattr(choice, "_KNOWN", {})
    monkeypatch.setattr(choice, "_input_shapes", lambda *_: {"0": torch.Size((6, 5)), "3": torch.Size((6, 4))})
    before, state = deepcopy(model.state_dict()), torch.get_rng_state()
    sparsify(model, chosen(model), example=torch.ones(6, 5))
    assert modes == {training}
    assert torch.equal(torch.get_rng_state(), state)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name])


def test_names_and_shapes_that_do_not_fit_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(PrunusError, match=r"1\.weight is not a parameter of Sequential"):
        sparsify(model, Mask({"1.weight": torch.ones(2, 3, dtype=torch.bool)}))
    with pytest.raises(PrunusError, match=r"0\.weight: mask \(3, 2\) != weight \(2, 3\)"):
        sparsify(model, Mask({"0.weight": torch.ones(3, 2, dtype=torch.bool)}))
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize("name", NETWORKS)
def test_copies_share_nothing(name: str) -> None:
    model, inputs = made(name, 20)
    sparsify(model, chosen(model))
    model.eval()
    before = model(inputs)
    copy = deepcopy(model)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.zero_()
    assert float(copy(inputs[:5]).detach().abs().max()) == 0
    assert torch.equal(model(inputs), before)
    chains = {id(m.chain) for m in copy.modules() if getattr(m, "chain", None)}
    assert not chains & {id(m.chain) for m in model.modules() if getattr(m, "chain", None)}


@pytest.mark.parametrize("settings", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}])
def test_every_batch_norm_is_the_masked_networks(settings: dict[str, object]) -> None:
    """Over several steps, far from zero, and in evaluation afterwards."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, eps=1e-2, **settings), nn.Conv2d(8, 4, 3))  # type: ignore[arg-type]
    dense = masked(model, chosen(model))
    sparsify(model, chosen(model))
    for _ in range(3):
        inputs = 5 + torch.randn(32, 3, 7, 6)
        assert near(model(inputs), dense(inputs))
    for (name, found), (other, wanted) in zip(model[1].named_buffers(), dense[1].named_buffers(), strict=True):
        assert name == other
        assert near(found.float(), wanted.float())
    assert near(model.eval()(inputs), dense.eval()(inputs))
