import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from prunus.holding import hold
from prunus.mask import Mask


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def random_mask(model, density):
    return Mask({name: torch.rand(kept.shape) < density for name, kept in Mask.dense(model).items()})


def train(model, optimizer, step):
    for _ in range(3):
        optimizer.zero_grad()
        (model(torch.ones(4, 5)) - 1).square().mean().backward()
        step()


@pytest.mark.parametrize("compiled_first", [True, False])
def test_a_compiled_model_is_compiled_once(compiled_first):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=counter)
    if compiled_first:
        train(compiled, optimizer, optimizer.step)
    with hold(optimizer, compiled if compiled_first else model, random_mask(model, 0.5)) as held:
        train(compiled, optimizer, optimizer.step)
        held.verify()
        frames = counter.frame_count
        for density in (0.4, 0.3):
            held.update(random_mask(model, density))
            train(compiled, optimizer, optimizer.step)
            held.verify()
            compiled.eval()
    assert counter.frame_count == frames == 1


def test_what_is_compiled_sees_the_held_weights():
    model = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compiled = torch.compile(model, backend="eager")
    compiled(torch.ones(1, 5))
    with hold(optimizer, compiled, Mask({"weight": torch.zeros(3, 5, dtype=torch.bool)})):
        assert torch.equal(compiled(torch.ones(1, 5))[0], model.bias)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch's own imports
def test_a_compiled_step_holds_too():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    train(model, optimizer, optimizer.step)
    with hold(optimizer, model, random_mask(model, 0.5)) as held:
        step = torch.compile(optimizer.step, backend="eager")
        train(model, optimizer, step)
        held.verify()
        with torch.no_grad():
            model[0].weight.fill_(1)
        optimizer.zero_grad(set_to_none=False)
        step()
        held.verify()
