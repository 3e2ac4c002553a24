"""Progress: no output for short tasks, a line every 10 s for long ones."""

import io

import pytest

from hiercam_keras import progress as module
from hiercam_keras.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock controlled by the test, without a terminal."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module.sys, "stderr", io.StringIO())
    return clock


@pytest.fixture
def lines(monkeypatch):
    """The lines that were logged."""
    found = []
    monkeypatch.setattr(
        module.logging, "info", lambda text, *values: found.append(text % values)
    )
    return found


def test_lines_tell_rate_and_time_left(clock, lines):
    items = progress(range(6), 60, "maps", count=lambda item: 10)
    seen = []
    for item in items:
        seen.append(item)
        clock.now += 6.0
    assert seen == [0, 1, 2, 3, 4, 5]
    # A line at 12, 24 s: 10 s and more after the one before; none when all is done.
    assert lines == [
        "maps: 20/60, 1.7 img/s, 24 s left",
        "maps: 40/60, 1.7 img/s, 12 s left",
    ]


def test_quick_work_is_quiet(clock, lines):
    assert list(progress(range(100), 100, "prepare")) == list(range(100))
    assert lines == []


def test_nothing_to_do(clock, lines):
    assert list(progress([], 0, "prepare")) == []
    assert lines == []


def test_a_terminal_gets_a_bar(monkeypatch, lines):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    assert list(progress(range(3), 3, "prepare")) == [0, 1, 2]
    assert "prepare" in terminal.getvalue()
    assert lines == []


def test_an_early_end_is_no_error(clock, lines):
    items = progress(range(100), 100, "maps")
    assert next(items) == 0
    items.close()
