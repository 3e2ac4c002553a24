"""The benchmark of a split's maps; a test run of tiny birds, nothing is compared."""

import pytest

from benchmarks import split


def test_ratios_are_of_rates_of_the_same_round():
    seconds = {"predictions": [2.0, 4.0], "maps": [4.0, 4.0]}
    assert split.compared(seconds)["maps"] == pytest.approx((0.75, 0.5, 1.0))
    assert "| maps | 2.0 (2.0..2.0) | 0.75 (0.50..1.00) |" in split.table(seconds, 8)


def test_the_first_call_of_each_task_is_not_counted():
    called = []
    work = {name: lambda name=name: called.append(name) for name in ("a", "b")}
    seconds = split.measure(work, 2)
    assert called == ["a", "b"] * 3
    assert [len(times) for times in seconds.values()] == [2, 2]
