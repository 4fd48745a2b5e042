import json
import os
from collections import Counter, OrderedDict
from copy import deepcopy
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from prunus.errors import FormatError, PrunusError
from prunus.snapshot import Snapshot, copied

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam-fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adamw-amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
    "muon": lambda p: torch.optim.Muon([w for w in p if w.ndim == 2], lr=0.01),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
}


pytestmark = pytest.mark.usefixtures("one_thread")


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)).to(dtype)


def train(model, optimizer, steps=3):
    """Steps whose data and dropout come from torch's own generator."""
    dtype = next(model.parameters()).dtype
    for _ in range(steps):
        x = torch.randn(16, 6, dtype=dtype)

        def loss(x=x):
            optimizer.zero_grad()
            value = model(x).float().square().mean()
            value.backward()
            return value

        optimizer.step(loss)


def bits(state):
    """A comparable picture of nested state: types, dtypes and bits, NaN included."""
    if isinstance(state, torch.Tensor):
        contiguous = state.detach().contiguous()
        return (str(state.dtype), tuple(state.shape), contiguous.view(-1).view(torch.uint8).numpy().tobytes())
    if isinstance(state, dict):
        return (type(state), [(bits(key), bits(value)) for key, value in state.items()])
    if isinstance(state, list | tuple):
        return (type(state), [bits(value) for value in state])
    return (type(state), repr(state))


def whole(model, optimizer):
    return bits([dict(model.state_dict()), optimizer.state_dict(), torch.get_rng_state()])


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float", "bfloat16"])
@pytest.mark.parametrize("through_file", [False, True], ids=["memory", "file"])
def test_two_rewinds_give_the_same_bits_and_the_same_future(name, dtype, through_file, tmp_path):
    model = network(dtype)
    optimizer = OPTIMIZERS[name](list(model.parameters()))
    train(model, optimizer)
    start = Snapshot.take(model, optimizer, step=3)
    before = whole(model, optimizer)
    if through_file:
        start.save(tmp_path / "start.safetensors")
        start = Snapshot.load(tmp_path / "start.safetensors")
    train(model, optimizer)
    future = whole(model, optimizer)
    assert future != before
    for _ in range(2):
        start.restore(model, optimizer)
        assert whole(model, optimizer) == before
        train(model, optimizer)
        assert whole(model, optimizer) == future


def test_rewinding_to_before_the_first_step_clears_the_optimizer():
    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    start = Snapshot.take(model, optimizer)
    train(model, optimizer)
    start.restore(model, optimizer)
    assert optimizer.state_dict()["state"] == {}


def test_parameters_are_written_in_place():
    model = network()
    places = [parameter.data_ptr() for parameter in model.parameters()]
    objects = list(model.parameters())
    start = Snapshot.take(model)
    train(model, OPTIMIZERS["sgd"](model.parameters()))
    start.restore(model)
    assert [parameter.data_ptr() for parameter in model.parameters()] == places
    assert all(a is b for a, b in zip(objects, model.parameters(), strict=True))


def test_the_three_rewinds():
    model = network()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    train(model, optimizer)
    moment = Snapshot.take(model, optimizer)
    train(model, optimizer)
    optimizer.param_groups[0]["lr"] = 1e-5
    trained, warm, random = (
        deepcopy(model.state_dict()),
        deepcopy(optimizer.state_dict()),
        torch.get_rng_state(),
    )

    moment.restore_schedule(optimizer)
    assert bits(dict(model.state_dict())) == bits(dict(trained))
    assert bits(optimizer.state_dict()) == bits(moment.optimizer)
    assert torch.equal(torch.get_rng_state(), moment.random["cpu"])

    optimizer.load_state_dict(warm)
    torch.set_rng_state(random)
    moment.restore_weights(model)
    assert bits(dict(model.named_parameters())) == bits(moment.weights)
    assert bits(dict(model.named_buffers())) == bits(moment.buffers)
    assert bits(optimizer.state_dict()) == bits(warm)
    assert torch.equal(torch.get_rng_state(), random)


def test_a_fused_optimizer_goes_on_exactly_in_channels_last(tmp_path):
    """A file stores values, not memory order; fused kernels walk memory, so order has to come back too."""
    torch.manual_seed(0)
    weight = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last).weight
    model = nn.ParameterList([weight])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)

    def step():
        weight.grad = torch.randn_like(weight)
        optimizer.step()

    step()
    Snapshot.take(model, optimizer).save(tmp_path / "start")
    step()
    expected = weight.detach().clone()
    Snapshot.load(tmp_path / "start").restore(model, optimizer)
    step()
    assert torch.equal(weight, expected)


def test_tied_parameters_appear_once():
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 4), "head": nn.Linear(4, 5, bias=False)})
    model["head"].weight = model["embedding"].weight
    start = Snapshot.take(model)
    assert list(start.weights) == ["embedding.weight"]
    nn.init.zeros_(model["head"].weight)
    start.restore(model)
    assert torch.equal(model["head"].weight, start.weights["embedding.weight"])


def test_step_order_and_extra_come_back_with_their_types(tmp_path):
    model = network()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    order = {"seed": 3, "epoch": 2, "batch": 17}
    extra = {"schedule": schedule.state_dict(), "generator": np.random.default_rng(0).bit_generator.state}
    Snapshot.take(model, step=41, order=order, extra=extra).save(tmp_path / "s")
    back = Snapshot.load(tmp_path / "s")
    assert (back.step, back.order, back.optimizer) == (41, order, None)
    assert bits(back.extra) == bits(extra)
    assert type(back.extra["schedule"]["milestones"]) is Counter


DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool, torch.complex64]
tensors = st.builds(
    lambda values, dtype, shape: torch.tensor(values[: prod(shape)]).to(dtype).reshape(shape),
    st.lists(st.integers(0, 1), min_size=6, max_size=6),
    st.sampled_from(DTYPES),
    st.sampled_from([(), (0,), (6,), (2, 3, 1), (2, 0)]),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
states = st.recursive(
    scalars | tensors | st.just(torch.tensor(float("nan"))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(scalars | st.tuples(st.integers(), st.text(max_size=3)), inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(state=states)
def test_any_nested_state_survives_the_file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("states") / "s"
    Snapshot.take(nn.Module(), order=state).save(path)
    assert bits(Snapshot.load(path).order) == bits(state)


def test_copies_share_nothing():
    state = {"a": [torch.zeros(2), (torch.ones(1),)]}
    copy = copied(state)
    state["a"][0].add_(1)
    state["a"][1][0].add_(1)
    state["a"].append(None)
    assert bits(copy) == bits({"a": [torch.zeros(2), (torch.ones(1),)]})


def test_what_a_file_cannot_hold_is_named():
    with pytest.raises(PrunusError, match=r"extra\.mine\.1 is a device"):
        Snapshot.take(nn.Linear(1, 1), extra={"mine": [1, torch.device("cpu")]})


def test_a_model_that_does_not_fit_is_refused_and_left_alone():
    start = Snapshot.take(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    for model in (nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))):
        before = bits(dict(model.state_dict()))
        with pytest.raises(PrunusError, match=r"1\.weight"):
            start.restore(model)
        assert bits(dict(model.state_dict())) == before


def test_an_optimizer_is_not_made_up():
    model = network()
    with pytest.raises(PrunusError, match="without an optimizer"):
        Snapshot.take(model).restore(model, OPTIMIZERS["sgd"](model.parameters()))


def written(path, change):
    """A snapshot file whose JSON tree `change` has edited."""
    Snapshot.take(nn.Linear(2, 1), step=1).save(path)
    state = change(fields := dict(json.loads(metadata(path)["state"])["dict"])) or {"dict": [*fields.items()]}
    save_file(load_file(path), path, metadata={"prunus_snapshot": "1", "state": json.dumps(state)})


def metadata(path):
    raw = path.read_bytes()
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]


HOSTILE = {
    "a part is missing": lambda fields: fields.pop("buffers") and None,
    "a part is added": lambda fields: fields.update(more=1),
    "negative step": lambda fields: fields.update(step=-1),
    "boolean step": lambda fields: fields.update(step=True),
    "weights are numbers": lambda fields: fields.update(weights={"dict": [["weight", 3]]}),
    "weights without names": lambda fields: fields.update(weights={"dict": [[1, fields["weights"]]]}),
    "half an optimizer": lambda fields: fields.update(optimizer={"dict": [["state", {"dict": []}]]}),
    "a tensor twice": lambda fields: fields.update(order=[{"tensor": "0.weights.weight"}]),
    "a tensor from nowhere": lambda fields: fields.update(order={"tensor": "elsewhere"}),
    "a tensor named by a list": lambda fields: fields.update(order={"tensor": []}),
    "a class": lambda fields: fields.update(order={"os.system": [["ls", 1]]}),
    "two kinds": lambda fields: fields.update(order={"tuple": [], "dict": []}),
    "pairs that are none": lambda fields: fields.update(order={"dict": [[1, 2, 3]]}),
    "unhashable keys": lambda fields: fields.update(order={"dict": [[[], 1]]}),
    "a tuple of nothing": lambda fields: fields.update(order={"tuple": 3}),
    "random numbers": lambda fields: fields.update(random={"dict": [["cpu", 3], ["cuda", []]]}),
    "not even parts": lambda fields: [1, 2],
    "a dict of a scalar": lambda fields: {"dict": 3},
    "a tensor that no part owns": lambda fields: fields.update(weights={"dict": []}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name, tmp_path):
    written(tmp_path / "s", HOSTILE[name])
    with pytest.raises(FormatError):
        Snapshot.load(tmp_path / "s")


def test_too_deep_a_tree_is_refused(tmp_path):
    deep = '{"tuple":[' * 100_000 + "]}" * 100_000
    save_file({}, tmp_path / "s", metadata={"prunus_snapshot": "1", "state": deep})
    with pytest.raises(FormatError):
        Snapshot.load(tmp_path / "s")


def test_other_files_are_refused(tmp_path):
    Snapshot.take(nn.Linear(2, 1)).save(tmp_path / "s")
    sound = (tmp_path / "s").read_bytes()
    for wrong in (b"", b"PK\x03\x04", sound[:-1], sound[: len(sound) // 2], sound + b"\0"):
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(FormatError):
            Snapshot.load(tmp_path / "wrong")
    save_file({"weight": torch.zeros(1)}, tmp_path / "plain")
    with pytest.raises(FormatError, match="version 1"):
        Snapshot.load(tmp_path / "plain")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "s"
    Snapshot.take(nn.Linear(2, 1), step=1).save(path)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        Snapshot.take(nn.Linear(2, 1), step=2).save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["s"]
    assert Snapshot.load(path).step == 1
