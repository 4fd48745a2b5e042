import copy
import gc
import pickle
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.mask import Mask
from prunus.snapshot import Snapshot

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def is_plus_zero(tensor):
    """Bit for bit, so that -0.0 is not."""
    return not tensor.detach().contiguous().view(INTEGERS[tensor.itemsize]).any()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def random_mask(model, density=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Mask(
        {
            name: torch.rand(weight.shape, generator=generator) < density
            for name, weight in model.named_parameters()
            if weight.ndim == 2
        }
    )


def loss(model, seed):
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(seed))
    return (model(x) - 1).square().mean()


def backward(model, seed=0):
    loss(model, seed).backward()


def train(model, optimizer, steps=3, seed=0):
    for step in range(steps):
        optimizer.zero_grad()
        backward(model, seed + step)
        optimizer.step()


class Masked(nn.Module):
    """The textbook definition: what the network computes with weights x mask."""

    def __init__(self, model, mask):
        super().__init__()
        self.model, self.mask = model, mask

    def forward(self, x):
        weights = {n: p * self.mask[n] if n in self.mask else p for n, p in self.model.named_parameters()}
        return torch.func.functional_call(self.model, weights, (x,))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
        lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=1e-2, amsgrad=True),
        lambda p: torch.optim.AdamW(p, lr=0.01),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
        lambda p: torch.optim.Rprop(p, lr=0.01),
    ],
)
def test_kept_weights_train_as_the_definition_says(make):
    """Element by element, the kept weights of weights x mask, trained by the same optimizer, bit for bit."""
    model, other = network(), network()
    mask = random_mask(model)
    reference = Masked(other, mask)
    optimizer = make(model.parameters())
    with hold(optimizer, model, mask):
        train(model, optimizer, 6)
    train(reference, make(other.parameters()), 6)
    for name, weight in other.named_parameters():
        expected = torch.where(mask[name], weight, 0) if name in mask else weight
        assert torch.equal(model.get_parameter(name), expected), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_pruned_entries_become_plus_zero_and_kept_ones_keep_their_bits(dtype):
    hard = [-0.0, -1.5, float("nan"), float("inf"), -float("inf"), 1e-7, 0.0, 3.0]
    weight = nn.Parameter(torch.tensor([hard, hard], dtype=dtype))
    model = nn.ParameterDict({"w": weight})
    kept = torch.tensor([[True] * 8, [False] * 8])
    before = weight.detach().clone()
    integer = INTEGERS[weight.itemsize]
    with hold(torch.optim.SGD([weight], lr=0.1), model, Mask({"w": kept})):
        assert torch.equal(weight[0].view(integer), before[0].view(integer))
        assert is_plus_zero(weight[1])
        weight.backward(before)  # a gradient as hard as the weights
        assert torch.equal(weight.grad[0].view(integer), before[0].view(integer))
        assert is_plus_zero(weight.grad[1])


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1000),
    density=st.floats(0, 1),
    maximise=st.booleans(),
    decay=st.floats(0, 5),
    rate=st.floats(0, 2),
)
def test_pruned_weights_and_momentum_stay_zero(seed, density, maximise, decay, rate):
    """Also where decay overshoots and the sign of a zero would flip."""
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, maximize=maximise)
    train(model, optimizer, 2, seed)
    mask = random_mask(model, density, seed)
    with hold(optimizer, model, mask) as held:
        train(model, optimizer, 2, seed)
        held.verify()
        for name, kept in mask.items():
            assert is_plus_zero(model.get_parameter(name)[~kept])


def test_clipping_sees_the_norm_of_the_masked_gradient():
    model, mask = network(), random_mask(network(), 0.1)
    mask.apply_to(model)
    gradients = torch.autograd.grad(loss(model, 0), list(model.parameters()))
    whole = sum(float(gradient.square().sum()) for gradient in gradients)
    masked = sum(
        float((gradient * mask.get(name, torch.ones(()))).square().sum())
        for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True)
    )
    assert whole > 1.4 * masked
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask):
        backward(model)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        assert float(norm) == pytest.approx(masked**0.5)
        left = sum(float(parameter.grad.square().sum()) for parameter in model.parameters())
        assert left**0.5 == pytest.approx(1e-3, rel=1e-3)


def test_gradients_shared_between_parameters_are_not_disturbed():
    """`a + b` gives both the same gradient tensor: masking one's must leave the other's."""
    model = nn.ParameterDict({"a": torch.ones(2, 3), "b": torch.ones(2, 3)})
    mask = Mask({"a": torch.zeros(2, 3, dtype=torch.bool)})
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask):
        (model["a"] + model["b"]).square().sum().backward()
    assert torch.equal(model["a"].grad, torch.zeros(2, 3))
    assert torch.equal(model["b"].grad, torch.full((2, 3), 2.0))


def test_accumulated_gradients_are_the_sum_of_masked_ones():
    model, mask = network(), random_mask(network())
    first = model[0].weight
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask):
        expected = sum(torch.autograd.grad(loss(model, seed), [first])[0] for seed in range(3))
        for seed in range(3):
            backward(model, seed)
    torch.testing.assert_close(first.grad, expected * mask["0.weight"])


def test_update_prunes_weights_gradients_and_state():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    held = hold(optimizer, model, random_mask(model, 0.8, seed=1))
    train(model, optimizer)  # leaves gradients behind
    mask = random_mask(model, 0.3, seed=2)
    held.update(mask)
    assert held.mask == mask
    for name, kept in mask.items():
        weight = model.get_parameter(name)
        state = optimizer.state[weight]
        for tensor in (weight, weight.grad, state["exp_avg"], state["exp_avg_sq"]):
            assert is_plus_zero(tensor[~kept])
            assert tensor[kept].any()


def test_regrown_weights_start_at_zero_with_zero_state():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    few, many = random_mask(model, 0.2), Mask.dense(model)
    held = hold(optimizer, model, few)
    train(model, optimizer)
    held.update(many)
    for name, kept in few.items():
        weight = model.get_parameter(name)
        assert is_plus_zero(weight[~kept])
        assert is_plus_zero(optimizer.state[weight]["exp_avg"][~kept])
    train(model, optimizer)
    assert all((model.get_parameter(name) != 0).all() for name in many)


def test_a_mask_given_or_received_is_not_shared():
    model, mask = network(), random_mask(network())
    before = copy.deepcopy(dict(mask))
    held = hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask)
    for name in mask:
        mask[name].fill_(True)
        held.mask[name].fill_(True)
    assert held.mask == Mask(before)


def test_dense_gradients_last_for_the_block():
    model, mask = network(), random_mask(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with hold(optimizer, model, mask) as held:
        expected = torch.autograd.grad(loss(model, 0), model[0].weight)[0]
        with held.dense_gradients():
            backward(model)
            assert torch.equal(model[0].weight.grad, expected)
        assert torch.equal(model[0].weight.grad, expected * mask["0.weight"])
        with held.dense_gradients():
            train(model, optimizer)
        held.verify()
        train(model, optimizer)
        held.verify()


def test_dense_gradients_end_with_an_error_too():
    model = network()
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, random_mask(model)) as held:
        with pytest.raises(KeyError), held.dense_gradients():
            raise KeyError
        backward(model)
        assert is_plus_zero(model[0].weight.grad[~held.mask["0.weight"]])


def test_weights_written_between_steps_are_cleared_by_the_next():
    model, dense = network(), network().state_dict()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with hold(optimizer, model, random_mask(model)) as held:
        model.load_state_dict(dense)
        with pytest.raises(PrunusError, match=r"0\.weight: \d+ pruned weights are not zero"):
            held.verify()
        train(model, optimizer, 1)
        held.verify()
        model[0].weight.data = torch.randn(7, 5)  # other memory under the same parameter
        train(model, optimizer, 1)
        held.verify()


@pytest.mark.parametrize("value", [-0.0, 1e-30, float("nan")])
def test_verify_finds_one_weight(value):
    model = network()
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, random_mask(model)) as held:
        held.verify()
        row, column = (~held.mask["2.weight"]).nonzero()[0].tolist()
        with torch.no_grad():
            model[2].weight[row, column] = value
        with pytest.raises(PrunusError, match=r"2\.weight: 1 pruned weights"):
            held.verify()


def test_verify_finds_one_entry_of_the_optimizer():
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    with hold(optimizer, model, random_mask(model)) as held:
        train(model, optimizer)
        row, column = (~held.mask["2.weight"]).nonzero()[0].tolist()
        optimizer.state[model[2].weight]["exp_avg_sq"][row, column] = 1e-30
        with pytest.raises(PrunusError, match=r"2\.weight: the optimizer's exp_avg_sq is not zero at 1"):
            held.verify()


def test_factored_state_forgets_rows_and_columns_that_are_wholly_pruned():
    model = network()
    optimizer = torch.optim.Adafactor(model.parameters(), lr=0.01)
    train(model, optimizer)
    mask = dict(random_mask(model, 0.7))
    mask["0.weight"][2] = False
    mask["0.weight"][:, 4] = False
    with hold(optimizer, model, Mask(mask)) as held:
        for _ in range(2):
            state = optimizer.state[model[0].weight]
            assert (state["row_var"][:, 0] == 0).tolist() == [row == 2 for row in range(7)]
            assert (state["col_var"][0] == 0).tolist() == [column == 4 for column in range(5)]
            held.verify()
            train(model, optimizer)


def test_what_is_not_a_memory_of_gradients_is_left_alone():
    model = network()
    optimizer = torch.optim.Rprop(model.parameters(), lr=0.01)
    train(model, optimizer)
    moments = optimizer.state[model[0].weight]["codes"] = torch.full((7, 5), 127, dtype=torch.uint8)
    sizes = optimizer.state[model[0].weight]["step_size"].clone()
    with hold(optimizer, model, random_mask(model)) as held:
        assert torch.equal(optimizer.state[model[0].weight]["step_size"], sizes)
        assert (moments == 127).all()
        train(model, optimizer)
        held.verify()


def test_state_of_another_precision_is_cleared():
    model = network().bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wide = optimizer.state[model[0].weight]["master"] = torch.ones(7, 5)
    narrow = optimizer.state[model[0].weight]["small"] = torch.ones(7, 5).to(torch.float8_e4m3fn)
    mask = random_mask(model)
    with hold(optimizer, model, mask):
        assert torch.equal(wide != 0, mask["0.weight"])
        assert torch.equal(narrow.float() != 0, mask["0.weight"])


def test_state_and_gradients_may_lie_otherwise_in_memory_than_their_weight():
    torch.manual_seed(0)
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kept = torch.rand(4, 3, 3, 3) < 0.5
    moments = optimizer.state[model.weight]["contiguous"] = torch.ones(4, 3, 3, 3)
    model.weight.grad = torch.ones(4, 3, 3, 3)
    with hold(optimizer, model, Mask({"weight": kept})):
        assert torch.equal(moments != 0, kept)
        assert torch.equal(model.weight.grad != 0, kept)
        assert torch.equal(model.weight != 0, kept)


def test_release_lets_the_weights_go():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    held = hold(optimizer, model, random_mask(model))
    held.release()
    held.release()
    train(model, optimizer)
    assert (model[0].weight != 0).all()
    assert not optimizer._optimizer_step_post_hooks


def test_the_block_releases():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with hold(optimizer, model, random_mask(model)):
        train(model, optimizer)
        assert (model[0].weight == 0).any()
    train(model, optimizer)
    assert (model[0].weight != 0).all()


def test_a_refused_mask_leaves_no_hooks_behind():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PrunusError, match=r"2\.weight: mask \(2, 2\) != weight \(3, 7\)"):
        hold(optimizer, model, Mask(dict(random_mask(model)) | {"2.weight": torch.zeros(2, 2).bool()}))
    assert not optimizer._optimizer_step_post_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    backward(model)
    assert (model[0].weight.grad != 0).all()


def test_names_that_do_not_fit_are_named():
    model = network()
    mask = random_mask(model)
    partly = torch.optim.SGD(model[0].parameters(), lr=0.1)
    with pytest.raises(PrunusError, match=r"not in this optimizer: \['2.weight'\]"):
        hold(partly, model, mask)
    with pytest.raises(PrunusError, match=r"not in this model: \['3.weight'\]"):
        hold(partly, model, Mask({"3.weight": mask["0.weight"]}))
    held = hold(partly, model, Mask({"0.weight": mask["0.weight"]}))
    with pytest.raises(PrunusError, match=r"unexpected 2\.weight"):
        held.update(mask)


def test_whole_numbers_are_refused():
    model = nn.ParameterDict({"codes": nn.Parameter(torch.zeros(2, 2, dtype=torch.int64), requires_grad=False)})
    with pytest.raises(PrunusError, match=r"codes: only floating-point .* torch\.int64"):
        hold(torch.optim.SGD(model.parameters()), model, Mask({"codes": torch.ones(2, 2, dtype=torch.bool)}))


def test_a_sparse_gradient_is_refused_by_name():
    model = nn.Sequential(nn.Embedding(4, 2, sparse=True))
    held = hold(torch.optim.SGD(model.parameters(), lr=0.1), model, Mask.dense(model))
    with held, pytest.raises(PrunusError, match=r"0\.weight: a sparse gradient"):
        model(torch.tensor([1])).sum().backward()


def test_a_layer_thawed_later_is_held():
    model = network()
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with hold(optimizer, model, random_mask(model)) as held:
        assert not model[0].weight.requires_grad
        train(model, optimizer)
        held.verify()
        model[0].weight.requires_grad_(True)
        backward(model)
        assert is_plus_zero(model[0].weight.grad[~held.mask["0.weight"]])
        assert model[0].weight.grad.any()


def test_two_optimizers_hold_a_part_each():
    model, mask = network(), random_mask(network())
    muon = torch.optim.Muon([model[0].weight], lr=0.1)
    rest = torch.optim.AdamW([p for p in model.parameters() if p is not model[0].weight], lr=0.1)
    with (
        hold(muon, model, Mask({"0.weight": mask["0.weight"]})) as first,
        hold(rest, model, Mask({"2.weight": mask["2.weight"]})) as second,
    ):
        for _ in range(3):
            model.zero_grad()
            backward(model)
            muon.step()
            rest.step()
        first.verify()
        second.verify()


def test_double_backward_goes_through():
    model, mask = network(), random_mask(network())
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, mask):
        gradients = torch.autograd.grad(loss(model, 0), [model[0].weight], create_graph=True)
        gradients[0].square().sum().backward()
        assert is_plus_zero(model[0].weight.grad[~mask["0.weight"]])


def test_nothing_keeps_a_dropped_model_alive():
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    held = hold(optimizer, model, random_mask(model))
    train(model, optimizer)
    gone = [weakref.ref(thing) for thing in (model[0].weight, optimizer, held)]
    del model, optimizer, held
    gc.collect()
    assert [thing() for thing in gone] == [None, None, None]


# Bugs of other tools, by the complaint.


def test_keys_stay_and_load_into_a_plain_network():
    model, plain = network(), network()
    keys, objects, classes = list(model.state_dict()), list(model.parameters()), [type(m) for m in model.modules()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with hold(optimizer, model, random_mask(model)):
        train(model, optimizer)
        assert list(model.state_dict()) == keys
        assert all(a is b for a, b in zip(model.parameters(), objects, strict=True))
        assert [type(m) for m in model.modules()] == classes
        plain.load_state_dict(model.state_dict(), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_can_be_made_after_forward_and_backward_and_are_free(duplicate):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with hold(optimizer, model, random_mask(model)) as held:
        train(model, optimizer)
        backward(model)
        twin = duplicate(model)
        assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), model.parameters(), strict=True))
        train(twin, torch.optim.SGD(twin.parameters(), lr=0.1))
        assert (twin[0].weight != 0).all()
        held.verify()


def test_momentum_and_decay_do_not_revive_pruned_weights():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.99, weight_decay=0.1)
    train(model, optimizer, 10)
    with hold(optimizer, model, random_mask(model)) as held:
        for _ in range(10):
            train(model, optimizer, 1)
            held.verify()


def test_a_resumed_run_equals_the_undisturbed_one(tmp_path):
    def start():
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        return model, optimizer, hold(optimizer, model, random_mask(model, 0.8))

    def finish(model, optimizer, held):
        train(model, optimizer, 3, seed=10)
        held.update(held.mask & random_mask(model, 0.5, seed=3))
        train(model, optimizer, 3, seed=20)
        held.verify()
        return model.state_dict()

    model, optimizer, held = start()
    train(model, optimizer)
    held.update(random_mask(model, 0.6, seed=7))  # some pruned, some regrown
    train(model, optimizer)
    Snapshot.take(model, optimizer, extra={"held": held.state_dict()}).save(tmp_path / "s")
    undisturbed = finish(model, optimizer, held)

    model, optimizer, held = start()
    snapshot = Snapshot.load(tmp_path / "s")
    snapshot.restore(model, optimizer)
    held.load_state_dict(snapshot.extra["held"])
    resumed = finish(model, optimizer, held)
    assert all(torch.equal(value, resumed[name]) for name, value in undisturbed.items())


def test_no_hook_runs_in_the_forward_pass():
    model = network()
    with hold(torch.optim.SGD(model.parameters(), lr=0.1), model, random_mask(model)):
        for module in model.modules():
            assert not module._forward_pre_hooks
            assert not module._forward_hooks
            assert not module._backward_hooks
            assert not module._backward_pre_hooks
