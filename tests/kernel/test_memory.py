"""Memory that is used again: only when nobody has it any more, and within bounds."""

import threading

import torch

from prunus.kernel import memory
from prunus.kernel.memory import empty

COUNT = memory.LARGE // 4 + 3


def test_memory_is_used_again_when_its_tensor_and_all_views_are_gone():
    one = empty(COUNT)
    place, view = one.data_ptr(), one[5:]
    del one
    view.fill_(1)
    other = empty(COUNT).fill_(2)
    assert other.data_ptr() != place
    assert torch.equal(view, torch.ones(COUNT - 5))
    del view
    again = empty(1, COUNT)
    assert again.data_ptr() == place
    assert again.shape == (1, COUNT)
    assert place % 64 == other.data_ptr() % 64 == 0


def test_no_more_waits_than_may():
    count = memory.MOST // 4 // 3
    held = [empty(count) for _ in range(5)]
    held.clear()
    assert len(memory._waiting(count)) == 3
    for more in range(memory.SIZES):
        empty(COUNT + more)
    assert not memory._waiting(count)


def test_threads_never_share_memory():
    wrong = []

    def work(number):
        for _ in range(200):
            held = [empty(COUNT), empty(COUNT)]
            for i, tensor in enumerate(held):
                tensor[::4096] = 2 * number + i
            for i, tensor in enumerate(held):
                wrong.extend(tensor[::4096][tensor[::4096] != 2 * number + i].tolist())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
