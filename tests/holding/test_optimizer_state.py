"""Which entries of an optimizer's state are cleared, in whatever shape, precision or layout it keeps them."""

import torch
from torch import nn

from prunus.holding import hold
from prunus.mask import Mask

from .networks import network, random_mask, train


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
