"""The comparison of bfloat16 with float32: its orders and its table."""

import argparse

import pytest

from benchmarks import bfloat16


class Peer:
    """A worker that answers at once: bfloat16 takes half of float32's time."""

    orders: list = []

    def __init__(self, name, case, python, cache):
        self.dtype = case.dtype

    def tell(self, do, task, calls=1, warm=False):
        self.orders.append((do, task, self.dtype, calls))
        seconds = 0.5 if self.dtype == "float32" else 0.25
        return {"call": seconds, "seconds": seconds, "processor_seconds": 2 * seconds}

    def end(self):
        self.orders.append(("end", None, self.dtype, 0))


@pytest.fixture
def orders(monkeypatch):
    monkeypatch.setattr(bfloat16, "Peer", Peer)
    monkeypatch.setattr(Peer, "orders", [])
    return Peer


def test_types_take_turns_and_their_ratio_is_the_table(orders):
    flags = argparse.Namespace(
        tasks=["forward"], rounds=2, block_seconds=1.0, python="", cache=""
    )
    found = bfloat16.measure("32x4", flags)
    timed = [order for order in orders.orders if order[0] == "time"]
    # Blocks of a second; each round begins with the other type.
    assert timed == [
        ("time", "forward", "bfloat16", 4),
        ("time", "forward", "float32", 2),
        ("time", "forward", "float32", 2),
        ("time", "forward", "bfloat16", 4),
    ]
    assert [order[0] for order in orders.orders][-2:] == ["end", "end"]
    rows = bfloat16.markdown([found]).splitlines()[2:]
    assert rows == [
        "| 32x4 | forward pass | clock | 0.500 (0.500..0.500) | 0.250 (0.250..0.250) "
        "| 2.00 (2.00..2.00) |",
        "| 32x4 | forward pass | processor | 1.000 (1.000..1.000) "
        "| 0.500 (0.500..0.500) | 2.00 (2.00..2.00) |",
    ]
