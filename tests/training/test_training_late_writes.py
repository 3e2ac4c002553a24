"""What is printed of writes that fail after the first one did."""

import asyncio
import gc

import pytest

from hiercam_keras.training.late_writes import ignore_late_writes


def a_future(loop):
    loop.create_future().set_exception(ValueError("no space left"))


def a_task(loop):
    async def write():
        raise ValueError("no space left")

    async def others():
        loop.create_task(write())
        await asyncio.sleep(0)

    loop.run_until_complete(others())


@pytest.mark.parametrize("fails", [a_future, a_task])
def test_a_failure_that_nobody_asks_for_is_not_logged(fails, caplog, monkeypatch):
    # An earlier test of this process may have installed the filter already.
    monkeypatch.setattr(asyncio.log.logger, "filters", [])

    def fail():
        loop = asyncio.new_event_loop()
        fails(loop)
        loop.close()
        gc.collect()
        return [one for one in caplog.records if one.name == "asyncio"]

    assert len(fail()) == 1
    caplog.clear()
    ignore_late_writes()
    assert not fail()
    asyncio.log.logger.error("another failure")
    assert "another failure" in caplog.text
