"""`hold_sparse`: what it trains is what `hold` trains, however often layers are made anew, and it can be taken up."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from prunus import hold, hold_sparse, sparsify
from prunus.data import load
from prunus.errors import PrunusError
from prunus.gradual import Gradual
from prunus.holding import Hold
from prunus.mask import Mask
from prunus.schedule import cubic
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot
from prunus.sparse import SparseConv2d, SparseHold, SparseLinear, network
from prunus.training import train
from prunus.tree import parameters

from .networks import made
from .test_sparsify import chosen, near

STEPS = 40


def optimizer_of(kind: str, model: nn.Module) -> Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    return torch.optim.Adam(model.parameters(), lr=0.01, eps=0.1)  # or rounding decides where gradients are zero


def step(model: nn.Module, optimizer: Optimizer, number: int, shape: torch.Size) -> tuple[float, float]:
    """A step on a batch of its own; its loss, and the norm of the gradient before it is clipped."""
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    loss = (model(inputs) - torch.arange(5)).square().mean()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 2.0)
    optimizer.step()
    return loss.item(), float(norm)


def gradual(held: Hold | SparseHold) -> Gradual:
    return Gradual(held, cubic(0.1, begin=0, end=30), end=30, every=3)


def sparse_layers(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, SparseLinear | SparseConv2d)]


def by_hand(model: nn.Module, of: Callable[[Tensor], Tensor | None]) -> dict[str, Tensor]:
    """What `of` tells of each parameter, with the names and shapes of the dense network."""
    found = {}
    for name, parameter in parameters(model).items():
        value = of(parameter)
        assert value is not None, name
        layer, _, role = name.rpartition(".")
        if role == "values":
            connections = model.get_submodule(layer).connections
            dense = [0.0] * torch.Size(connections.shape).numel()
            for place, one in zip(connections.entries.tolist(), value.tolist(), strict=True):
                dense[place] = one
            value, name = torch.tensor(dense).view(connections.shape), f"{layer}.weight"
        found[name] = value.detach().clone()
    return found


def close(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.allclose(value, second[name], rtol=1e-3, atol=1e-4) for name, value in first.items())


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["residual", "perceptron"])
def test_gradual_pruning_finds_the_same_masks_and_weights(name: str, kind: str) -> None:
    """The densities at which layers are sparse, and are made anew, lie all along the run."""
    model, inputs = made(name, 32)
    twin = deepcopy(model)
    optimizer, other = optimizer_of(kind, model), optimizer_of(kind, twin)
    met = set()
    with (
        hold_sparse(optimizer, model, Mask.dense(model), below=0.7) as held,
        hold(other, twin, Mask.dense(twin)) as plain,
    ):
        pruning, plainly = gradual(held), gradual(plain)
        for number in range(1, STEPS + 1):
            seen = step(model, optimizer, number, inputs.shape)
            assert seen == pytest.approx(step(twin, other, number, inputs.shape), rel=1e-3)
            pruning(number)
            plainly(number)
            assert held.mask == plain.mask, number
            held.verify()
            met.add(tuple(sparse_layers(model)))
        assert held.mask.density == pytest.approx(0.1, abs=0.01)
        assert close(dict(held.weights), dict(plain.weights))
        plain.verify()
    assert () in met
    assert len(met) > 1
    assert not sparse_layers(model)
    assert str(model) == str(twin)
    assert close(parameters(model), parameters(twin))
    for memory in ("momentum_buffer",) if kind == "sgd" else ("exp_avg", "exp_avg_sq", "step"):
        found, wanted = (
            {n: one.state[p][memory] for n, p in parameters(network).items()}
            for network, one in ((model, optimizer), (twin, other))
        )
        assert close(found, wanted)
    for layer, kept in plain.mask.items():
        assert model.get_parameter(layer)[~kept].view(torch.int32).eq(0).all()


@pytest.mark.parametrize("memory", ["momentum_buffer", "exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("share", [0.97, 0.5, 0.1], ids=["held", "anew", "few"])
@pytest.mark.parametrize("name", ["pooling", "perceptron"])
def test_an_update_moves_everything_to_the_bit(name: str, share: float, memory: str) -> None:
    """Weights, gradients and moments of what is kept stay, all others are zero; then some are kept again."""
    model, inputs = made(name, 16)
    mask = chosen(model, 0.6)
    optimizer = optimizer_of("sgd" if memory == "momentum_buffer" else "adam", model)
    drawn = torch.Generator().manual_seed(3)
    fewer = Mask({n: kept & (torch.rand(kept.shape, generator=drawn) < share) for n, kept in mask.items()})
    kinds: list[Callable[[Tensor], Tensor | None]] = [
        lambda parameter: parameter,
        lambda parameter: parameter.grad,
        lambda parameter: optimizer.state[parameter][memory],
    ]
    with hold_sparse(optimizer, model, mask) as held:
        for number in range(3):
            step(model, optimizer, number, inputs.shape)
        sizes = {name: parameter.shape for name, parameter in parameters(model).items()}
        for present in (fewer, mask):
            before = [by_hand(model, of) for of in kinds]
            held.update(present)
            assert held.mask == present
            held.verify()
            for of, old in zip(kinds, before, strict=True):
                wanted = {n: torch.where(present[n], v, 0) if n in present else v for n, v in old.items()}
                found = by_hand(model, of)
                assert found.keys() == wanted.keys()
                assert all(torch.equal(found[n], value) for n, value in wanted.items())
            if present is fewer:
                assert ({n: p.shape for n, p in parameters(model).items()} == sizes) == (share == 0.97)
        own = {id(parameter) for parameter in model.parameters()}
        assert {id(p) for group in optimizer.param_groups for p in group["params"]} == own
        assert {id(p) for p in optimizer.state} == own
        step(model, optimizer, 3, inputs.shape)
        again = torch.cat([weight[mask[layer] & ~fewer[layer]] for layer, weight in held.weights.items()])
        assert again.any(), "what is kept again is trained again"


@pytest.mark.parametrize("by", ["snapshot", "state dictionaries"])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("stop", [2, 14, 16, 35])
def test_a_run_is_taken_up_to_the_bit(tmp_path: Path, stop: int, kind: str, by: str) -> None:
    def begun() -> tuple[nn.Module, Optimizer, SparseHold]:
        model = made("residual", 1)[0]
        optimizer = optimizer_of(kind, model)
        return model, optimizer, hold_sparse(optimizer, model, Mask.dense(model), below=0.7)

    def go_on(model: nn.Module, optimizer: Optimizer, held: SparseHold, begin: int, end: int) -> None:
        pruning = gradual(held)
        for number in range(begin + 1, end + 1):
            step(model, optimizer, number, torch.Size((16, 3, 8, 9)))
            pruning(number)

    whole = begun()
    go_on(*whole, 0, STEPS)
    part = begun()
    go_on(*part, 0, stop)
    model, optimizer, held = part
    again, another, resumed = begun()
    if by == "snapshot":
        Snapshot.take(model, optimizer, extra={"held": held.state_dict()}).save(tmp_path / "moment")
        moment = Snapshot.load(tmp_path / "moment")
        resumed.load_state_dict(moment.extra["held"])
        moment.restore(again, another)
    else:
        torch.save([part.state_dict() for part in (model, optimizer, held)], tmp_path / "moment")
        of_model, of_optimizer, of_held = torch.load(tmp_path / "moment")
        resumed.load_state_dict(of_held)
        again.load_state_dict(of_model)
        another.load_state_dict(of_optimizer)
    assert sparse_layers(again) == sparse_layers(model)
    go_on(again, another, resumed, stop, STEPS)
    for one in (whole, (again, another, resumed)):
        one[2].release()
    assert resumed.mask == whole[2].mask
    assert all(torch.equal(again.state_dict()[name], wanted) for name, wanted in whole[0].state_dict().items())


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("stop", [11, 27])
def test_a_checkpoint_of_the_loop_is_taken_up_to_the_bit(tmp_path: Path, stop: int) -> None:
    data = load("digits")
    settings = Settings(steps=30, batch=100)

    def run(checkpoint: Path | None, stop: int | None = None) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        optimizer = make_optimizer(model, settings)
        with hold_sparse(optimizer, model, Mask.dense(model), below=0.8) as held:
            pruning = Gradual(held, cubic(0.2, begin=0, end=20), end=20, every=2)

            def on_step(number: int) -> None:
                if number == stop:
                    raise StoppedError
                pruning(number)

            train(
                model,
                data,
                settings,
                seed=1,
                optimizer=optimizer,
                on_step=on_step,
                stateful={"held": held},
                checkpoint=checkpoint,
                every=0,
            )
            assert sparse_layers(model) == ["1", "3"]
        return model.state_dict()

    undisturbed = run(None)
    with pytest.raises(StoppedError):
        run(tmp_path / "run", stop)
    assert Snapshot.load(tmp_path / "run").step == stop - 1
    resumed = run(tmp_path / "run")
    assert all(torch.equal(resumed[name], wanted) for name, wanted in undisturbed.items())


def test_it_is_measured_once_a_halving(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice: first nothing, then one layer, then the other."""
    choices = iter([(), ("0",), ("2",)])
    measured = []

    def fastest(model: nn.Module, layers: dict[str, Tensor], example: Tensor) -> tuple[dict[str, Tensor], object]:
        measured.append(mask.density)
        torch.rand(3)
        return {name: layers[name] for name in next(choices)}, {}

    monkeypatch.setattr(network, "fastest", fastest)
    model = nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 10))
    optimizer = optimizer_of("sgd", model)
    mask = Mask.dense(model)
    before = torch.get_rng_state()
    with hold_sparse(optimizer, model, mask, example=torch.randn(4, 10, generator=torch.Generator())) as held:
        seen = {}
        for tenths in (9, 8, 6, 5, 4, 3, 2, 1):
            kept = torch.zeros(10, 10, dtype=torch.bool)
            kept[:tenths] = True
            mask = Mask({"0.weight": kept, "2.weight": kept})
            held.update(mask)
            seen[tenths] = sparse_layers(model)
    assert measured == [0.5, 0.2, 0.1]
    assert seen == {9: [], 8: [], 6: [], 5: [], 4: [], 3: [], 2: ["0"], 1: ["2"]}
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_is_sparse_already() -> None:
    model, inputs = made("perceptron", 16)
    mask = chosen(model)
    sparsify(model, mask)
    optimizer = optimizer_of("sgd", model)
    with hold_sparse(optimizer, model, mask) as held:
        assert sparse_layers(model) == ["0", "3", "6"]
        step(model, optimizer, 0, inputs.shape)
        assert near(held.weights["0.weight"], model[0].weight())
    with pytest.raises(PrunusError, match=r"not in this model: \['0.values'\]"):
        hold_sparse(optimizer, model, Mask({"0.values": torch.ones(3, dtype=torch.bool)}))


def test_names_and_shapes_of_other_masks_are_refused() -> None:
    model, _ = made("perceptron", 1)
    mask = chosen(model)
    with hold_sparse(optimizer_of("sgd", model), model, mask) as held:
        with pytest.raises(PrunusError, match=r"missing 0\.weight"):
            held.update(Mask({name: mask[name] for name in ("3.weight", "6.weight")}))
        with pytest.raises(PrunusError, match=r"6\.weight"):
            held.update(Mask({**mask, "6.weight": torch.ones(2, 2, dtype=torch.bool)}))
        assert held.mask == mask


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_the_network_gets_its_own_layers_back(kind: str) -> None:
    """With the layout that their weights had in memory, after which fused optimizers read what they remember."""
    model, inputs = made("residual", 16)
    model = model.to(memory_format=torch.channels_last)
    twin = deepcopy(model)
    mask = chosen(model)
    modules, own, strides = list(model.modules()), list(model.parameters()), [p.stride() for p in model.parameters()]
    optimizers = [make_optimizer(one, Settings(steps=1, optimizer=kind, learning_rate=1e-3)) for one in (model, twin)]
    for way, network_, optimizer in zip((hold_sparse, hold), (model, twin), optimizers, strict=True):
        step(network_, optimizer, 0, inputs.shape)
        with way(optimizer, network_, mask):
            step(network_, optimizer, 1, inputs.shape)
        with hold(optimizer, network_, mask) as held:
            step(network_, optimizer, 2, inputs.shape)
            held.verify()
    assert all(one is other for one, other in zip(model.modules(), modules, strict=True))
    assert all(one is other for one, other in zip(model.parameters(), own, strict=True))
    assert [parameter.stride() for parameter in model.parameters()] == strides
    assert optimizers[0].state.keys() == set(own)
    for layer in mask:  # biases before BatchNorm have no gradient but rounding
        assert torch.allclose(model.get_parameter(layer), twin.get_parameter(layer), rtol=1e-3, atol=1e-5)
