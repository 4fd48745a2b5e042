"""Numbers too small for full precision."""

import pytest
import torch

from prunus.denormals import flushed

TINY = 1e-39  # the least normal number of single precision is 1.2e-38


def survives() -> bool:
    return torch.tensor([TINY]).add(0.0).item() != 0.0


@pytest.fixture(autouse=True)
def as_before():
    assert survives()
    yield
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("one_thread")
def test_they_count_as_zero_inside_and_not_afterwards():
    with flushed():
        assert not survives()
    assert survives()


@pytest.mark.usefixtures("one_thread")
def test_who_flushes_already_goes_on_flushing():
    torch.set_flush_denormal(True)
    with flushed():
        assert not survives()
    assert not survives()


@pytest.mark.usefixtures("one_thread")
def test_an_error_inside_leaves_all_as_it_was():
    with pytest.raises(KeyError), flushed():
        raise KeyError
    assert survives()


def test_several_threads_are_left_alone(one_thread: None):
    torch.set_num_threads(2)
    with flushed():
        assert survives()


@pytest.mark.usefixtures("one_thread")
def test_fading_momentum_ends_at_zero():
    weight = torch.nn.Parameter(torch.ones(64))
    optimizer = torch.optim.Adam([weight], fused=True)
    with flushed():
        for step in range(1200):
            weight.grad = torch.ones(64) if step == 0 else torch.zeros(64)
            optimizer.step()
    assert (optimizer.state[weight]["exp_avg"] == 0).all()  # 0.1 * 0.9 ** 1199 is 1e-56
