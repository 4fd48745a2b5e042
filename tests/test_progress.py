import io
import sys

import pytest

from prunus.progress import lines, shown, silent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent("train", 1, 1, "")
    assert capsys.readouterr() == ("", "")


def test_lines_come_now_and_then_and_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    show = lines(stream, every=10, clock=clock)
    for step in range(1, 31):
        clock.now = float(step)
        show("train", step, 30, f"loss {step}")
    assert stream.getvalue() == "train 10/30, loss 10\ntrain 20/30, loss 20\ntrain 30/30, loss 30\n"


def test_every_title_says_that_it_is_done() -> None:
    stream = io.StringIO()
    show = lines(stream, clock=Clock())
    for title in ("train", "prune"):
        for step in (1, 2):
            show(title, step, 2, "")
    assert stream.getvalue() == "train 2/2\nprune 2/2\n"


def test_shown_writes_lines_to_what_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with shown() as show:
        show("train", 2, 2, "loss 1")
    assert capsys.readouterr() == ("", "train 2/2, loss 1\n")


def test_shown_draws_a_bar_for_each_title_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    with shown(terminal) as show:
        show("train", 1, 2, "")
        show("train", 2, 2, "loss 0.5")
        show("prune", 3, 4, "")
    last = terminal.getvalue()
    assert "\x1b[" in last  # it is drawn, not written line by line
    assert "2/2" in last
    assert "loss 0.5" in last
    assert "prune" in last
    assert "3/4" in last
    assert sys.stderr is not terminal
